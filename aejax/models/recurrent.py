"""Recurrent networks over frames, or over raw samples: LSTM and GRU by ``jax.lax.scan``."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax.models.blocks import Dtype, last_layer

# Steps that are compiled into one turn of the loop: its overhead is what small cells cost most.
_UNROLL = 8


def _lstm(carry: tuple[Array, Array], gates: Array) -> tuple[Array, Array]:
    """Gates in the order input, forget, candidate, output.

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997, with the forget gate of
    Gers et al., 2000.
    """
    cell, _ = carry
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    # The forget gate begins near 1: Jozefowicz et al., "An empirical exploration of recurrent
    # network architectures", ICML 2015.
    cell = jax.nn.sigmoid(f + 1) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return cell, jax.nn.sigmoid(o) * jnp.tanh(cell)


class RecurrentLayer(nn.Module):
    """One layer of "lstm" or "gru" cells along time, from a state of zeros.

    The products with the input are made for all steps at once; only those with the state are in the
    loop.

    Attributes:
      kind: "lstm" or "gru".
      width: of the state.
      cut: steps after which back-propagation is cut; 0 for never.
      dtype: of the arithmetic.
    """

    kind: str
    width: int
    cut: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch time channels"]) -> Float[Array, "batch time width"]:
        gates = 4 if self.kind == "lstm" else 3
        inputs = nn.Dense(gates * self.width, dtype=self.dtype, name="input")(x)
        kernel = self.param(
            "state_kernel",
            nn.initializers.variance_scaling(1.0, "fan_in", "normal"),
            (self.width, gates * self.width),
        ).astype(self.dtype)
        bias = self.param("state_bias", nn.initializers.zeros, (gates * self.width,))
        bias = bias.astype(self.dtype)[None]

        def lstm(carry: tuple, gates: Array) -> tuple:
            return _lstm(carry, gates + carry[1] @ kernel + bias)

        def gru(carry: tuple, gates: Array) -> tuple:
            # Source: Cho et al., "Learning phrase representations using RNN encoder-decoder",
            # 2014; the reset gate behind the product, as cuDNN has it.
            (state,) = carry
            by_state = state @ kernel + bias
            reset, update = (
                jax.nn.sigmoid(a + b)
                for a, b in zip(
                    jnp.split(gates, 3, -1)[:2], jnp.split(by_state, 3, -1)[:2], strict=True
                )
            )
            new = jnp.tanh(jnp.split(gates, 3, -1)[2] + reset * jnp.split(by_state, 3, -1)[2])
            return ((1 - update) * new + update * state,)

        cell = lstm if self.kind == "lstm" else gru

        def step(carry: tuple, inputs: tuple[Array, Array]) -> tuple[tuple, Array]:
            index, gates = inputs
            if self.cut:
                whole = index % self.cut != 0
                carry = tuple(jnp.where(whole, c, jax.lax.stop_gradient(c)) for c in carry)
            carry = cell(carry, gates)
            return carry, carry[-1]

        batch, steps, _ = x.shape
        zeros = jnp.zeros((batch, self.width), self.dtype)
        start = (zeros, zeros) if self.kind == "lstm" else (zeros,)
        along = (jnp.arange(steps), jnp.moveaxis(inputs, 1, 0))
        _, states = jax.lax.scan(step, start, along, unroll=min(_UNROLL, steps))
        return jnp.moveaxis(states, 0, 1)


class RecurrentEncoder(nn.Module):
    """Layers over all frames; the state after the last frame of a block becomes its latents.

    Attributes:
      out: channels that come out.
      downsampling: frames in a block.
      kind, width, cut: of each layer.
      depth: layers.
      dropout: fraction dropped after each.
      zero_start: begin as the map to zero.
      dtype: of the arithmetic.
    """

    out: int
    downsampling: int
    kind: str
    width: int
    cut: int
    depth: int
    dropout: float
    zero_start: bool
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool
    ) -> Float[Array, "batch latent_frames out"]:
        for _ in range(self.depth):
            x = RecurrentLayer(self.kind, self.width, self.cut, self.dtype)(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = x[:, self.downsampling - 1 :: self.downsampling]
        return last_layer(self.out, zero_start=self.zero_start, dtype=self.dtype)(x)


class RecurrentDecoder(nn.Module):
    """Each latent frame is held for as long as its block lasts, told apart by the place in the
    block, and layers over all frames make of it what they have heard so far.

    Attributes: as in `RecurrentEncoder`.
    """

    out: int
    downsampling: int
    kind: str
    width: int
    cut: int
    depth: int
    dropout: float
    zero_start: bool
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool
    ) -> Float[Array, "batch frames out"]:
        place = self.param(
            "place", nn.initializers.normal(0.02), (self.downsampling, self.width)
        ).astype(self.dtype)
        x = nn.Dense(self.width, dtype=self.dtype)(z)[:, :, None] + place[None, None]
        x = x.reshape(x.shape[0], -1, self.width)
        for _ in range(self.depth):
            x = RecurrentLayer(self.kind, self.width, self.cut, self.dtype)(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return last_layer(self.out, zero_start=self.zero_start, dtype=self.dtype)(x)
