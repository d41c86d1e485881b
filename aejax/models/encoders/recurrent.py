"""Recurrent networks over frames or raw samples: LSTM and GRU by ``jax.lax.scan``."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from aejax.models.blocks import Dense, Dropout, Dtype, add_bias, last_layer
from aejax.models.encoders.base import Network
from aejax.parts import at_least, encoders, key
from aejax.runtime.errors import UserError

Carry = tuple[Array, ...]


def _sigmoid_of(tanh_of_half: Array) -> Array:
    """sigmoid(x) from tanh(x / 2). XLA computes one tanh for all gates, but would compute its own
    sigmoid again for each use."""
    return 0.5 * tanh_of_half + 0.5


def _lstm(carry: Carry, gates: Array) -> Carry:
    """The LSTM step; gates in the order input, forget, candidate, output.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997, with the forget gate of
    Gers et al., 2000.
    """
    width = gates.shape[-1] // 4
    halves = jnp.repeat(jnp.asarray([0.5, 0.5, 1.0, 0.5], gates.dtype), width)
    # The forget gate has a bias of 1: Jozefowicz et al., "An empirical exploration of recurrent
    # network architectures", ICML 2015.
    ahead = jnp.repeat(jnp.asarray([0.0, 0.5, 0.0, 0.0], gates.dtype), width)
    i, f, g, o = jnp.split(jnp.tanh(halves[None] * gates + ahead[None]), 4, axis=-1)
    cell = _sigmoid_of(f) * carry[0] + _sigmoid_of(i) * g
    return cell, _sigmoid_of(o) * jnp.tanh(cell)


def _gru(carry: Carry, gates: Array) -> Carry:
    """The GRU step; gates in the order reset, update, and the two parts of the candidate.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014; the reset
    gate after the matrix product, as in cuDNN.
    """
    (state,) = carry
    width = state.shape[-1]
    reset, update = jnp.split(_sigmoid_of(jnp.tanh(0.5 * gates[:, : 2 * width])), 2, axis=-1)
    by_input, by_state = jnp.split(gates[:, 2 * width :], 2, axis=-1)
    new = jnp.tanh(by_input + reset * by_state)
    return ((1 - update) * new + update * state,)


def _gru_join(by_input: Array, by_state: Array) -> Array:
    both = by_input.shape[-1] // 3 * 2
    total = by_input[..., :both] + by_state[..., :both]
    return jnp.concatenate([total, by_input[..., both:], by_state[..., both:]], axis=-1)


class Cell(NamedTuple):
    """A recurrent cell, as functions of the matrix products with input and state.

    Attributes:
      join: linear function from both products to gates.
      step: function from carry and gates to the next carry; its last array is the state.
      gates: size of a product, in multiples of the width.
      carried: number of arrays in the carry.
    """

    join: Callable[[Array, Array], Array]
    step: Callable[[Carry, Array], Carry]
    gates: int
    carried: int


_LSTM = Cell(jnp.add, _lstm, gates=4, carried=2)
_GRU = Cell(_gru_join, _gru, gates=3, carried=1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _recur(
    cell: Cell,
    bptt_steps: int,
    by_input: Float[Array, "time batch gates"],
    kernel: Float[Array, "width gates"],
    bias: Float[Array, " gates"],
) -> Float[Array, "time batch width"]:
    """The state after each step, from zeros; gradients stop at every ``bptt_steps``-th step.

    The gradient is custom: JAX's would add a small product to the kernel's gradient in each step;
    here it is one product over all steps.
    """
    return _forwards(cell, bptt_steps, by_input, kernel, bias)[0]


def _forwards(
    cell: Cell, bptt_steps: int, by_input: Array, kernel: Array, bias: Array
) -> tuple[Array, tuple]:
    def step(carry: Carry, by_input: Array) -> tuple[Carry, tuple[Array, Carry, Array]]:
        gates = cell.join(by_input, add_bias(carry[-1] @ kernel, bias))
        after = cell.step(carry, gates)
        return after, (after[-1], carry, gates)

    start = (jnp.zeros((by_input.shape[1], kernel.shape[0]), by_input.dtype),) * cell.carried
    _, (states, before, gates) = jax.lax.scan(step, start, by_input)
    return states, (before, gates, kernel)


def _backwards(
    cell: Cell, bptt_steps: int, saved: tuple, gradient: Array
) -> tuple[Array, Array, Array]:
    before, gates, kernel = saved
    steps = len(gates)
    joined = jnp.arange(steps) % (bptt_steps or steps) != 0
    # Transposed only once, since a product with a transposed factor takes twice as long.
    transposed = jax.lax.optimization_barrier(kernel.T)

    def products(gates: Array) -> tuple[Array, Array]:
        """Gradients of both products, from the gradient of the gates."""
        product = jax.ShapeDtypeStruct((*gates.shape[:-1], kernel.shape[1]), gates.dtype)
        return jax.linear_transpose(cell.join, product, product)(gates)

    def step(after: Carry, at: tuple) -> tuple[Carry, Array]:
        carry, gates, gradient, joined = at
        _, transpose = jax.vjp(cell.step, carry, gates)
        carry, gates = transpose((*after[:-1], after[-1] + gradient))
        carry = (*carry[:-1], carry[-1] + products(gates)[1] @ transposed)
        return tuple(c * joined.astype(c.dtype) for c in carry), gates

    end = tuple(jnp.zeros_like(c[0]) for c in before)
    _, gates = jax.lax.scan(step, end, (before, gates, gradient, joined), reverse=True)
    by_input, by_state = products(gates)
    return (
        by_input,
        jnp.einsum("tbw,tbg->wg", before[-1], by_state),
        by_state.sum((0, 1), jnp.float32),
    )


_recur.defvjp(_forwards, _backwards)


class RecurrentLayer(nn.Module):
    """One layer of LSTM or GRU cells along time, from a state of zeros.

    The products with the input are computed for all steps at once, outside of the loop.

    Attributes:
      cell: LSTM or GRU.
      width: size of the state.
      bptt_steps: steps of truncated back-propagation; 0 for no truncation.
      hold: steps that each input is repeated for; above 1, with a learnt position embedding.
      dtype: of the arithmetic.
    """

    cell: Cell
    width: int
    bptt_steps: int
    hold: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch inputs channels"]
    ) -> Float[Array, "batch time width"]:
        gates = self.cell.gates * self.width
        by_input = Dense(gates, dtype=self.dtype, name="input")(jnp.moveaxis(x, 1, 0))
        if self.hold > 1:
            position = self.param("position", nn.initializers.normal(0.1), (self.hold, gates))
            # Gradients of what is repeated are summed in float32.
            by_input = by_input.astype(jnp.float32)[:, None] + position[None, :, None]
            by_input = by_input.astype(self.dtype).reshape(-1, *by_input.shape[2:])
        start = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        kernel = self.param("state_kernel", start, (self.width, gates)).astype(self.dtype)
        bias = self.param("state_bias", nn.initializers.zeros, (gates,))
        return jnp.moveaxis(_recur(self.cell, self.bptt_steps, by_input, kernel, bias), 0, 1)


class Recurrent(Network, kw_only=True):
    """Recurrent layers over all frames.

    Attributes:
      downsampling: frames in a block.
      cell: LSTM or GRU.
    """

    downsampling: int
    truncated_bptt_steps: int = key(
        0, at_least(0), "steps of truncated back-propagation; 0 for no truncation"
    )
    cell = _LSTM
    takes_frames = True
    receptive_field = (math.inf, 0)  # in latent frames

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """At least one layer, and no start at PCA on raw samples."""
        name = cls.part_name
        if config.representation.name == "waveform" and config.model.pca_start:
            raise UserError(
                f"config.model.pca_start=True cannot be combined with model.encoder={name!r} on"
                " raw samples (representation.name='waveform'): set pca_start to False"
            )
        if not config.model[name].depth:
            raise UserError(
                f"config.model.{name}.depth=0 leaves model.encoder={name!r} without cells"
            )


class RecurrentDecoder(Recurrent):
    """Recurrent layers over all frames; each latent frame is repeated for its block."""

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool
    ) -> Float[Array, "batch frames out"]:
        x = z
        for layer in range(self.depth):
            hold = self.downsampling if layer == 0 else 1
            x = RecurrentLayer(self.cell, self.width, self.truncated_bptt_steps, hold, self.dtype)(
                x
            )
            x = Dropout(self.dropout)(x, train=train)
        return last_layer(self.out, zero_start=self.zero_start, dtype=self.dtype)(x)


class GRUDecoder(RecurrentDecoder):
    """`RecurrentDecoder` with GRU cells."""

    cell = _GRU


@encoders.register("lstm")
class LSTM(Recurrent):
    """LSTM over all frames; the latents of a block are read from the state after its last frame.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997.
    """

    decoder = RecurrentDecoder

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool
    ) -> Float[Array, "batch latent_frames out"]:
        for _ in range(self.depth):
            x = RecurrentLayer(self.cell, self.width, self.truncated_bptt_steps, dtype=self.dtype)(
                x
            )
            x = Dropout(self.dropout)(x, train=train)
        x = x[:, self.downsampling - 1 :: self.downsampling]
        return last_layer(self.out, zero_start=self.zero_start, dtype=self.dtype)(x)


@encoders.register("gru")
class GRU(LSTM):
    """GRU over all frames; the latents of a block are read from the state after its last frame.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.
    """

    cell = _GRU
    decoder = GRUDecoder
