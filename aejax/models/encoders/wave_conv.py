"""Strided convolutions on raw samples.

Source: Tagliasacchi et al., "SEANet: a multi-modal speech enhancement network", 2020, and Kumar et
al., "High-fidelity audio compression with improved RVQGAN", 2023, with two changes: the rate is
changed by a reshape and a dense layer (sub-pixel), and weights are not normalised.
"""

import itertools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from aejax.models.blocks import (
    Conv1D,
    Dense,
    Dropout,
    Dtype,
    ReceptiveField,
    from_blocks,
    last_layer,
    to_blocks,
)
from aejax.parts import between, encoders, integers, key
from aejax.runtime.errors import UserError

_DILATIONS = (1, 3, 9)
_KERNEL_SIZE = 7


def _fitted(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Coefficients of a polynomial of degree 5 in the squared angle, constant first, that
    interpolates a function for angles up to pi / 2 with float32 precision."""
    series = np.polynomial.Chebyshev.interpolate(function, 5, domain=[0, (np.pi / 2) ** 2])
    return series.convert(kind=np.polynomial.Polynomial).coef.astype(np.float32)


_SINE = _fitted(lambda squared: np.sinc(np.sqrt(squared) / np.pi))  # sine divided by the angle
_COSINE = _fitted(lambda squared: np.cos(np.sqrt(squared)))
# Pi as a sum of two numbers, whose products with small integers are (nearly) exact in float32.
_PI = (np.float32(3.140625), np.float32(np.pi - 3.140625))


def _sine_cosine(angle: Array) -> tuple[Array, Array]:
    """Sine and cosine up to a common sign, which their squares and product do not depend on.

    With XLA's sine, `snake` took two thirds of a wave_conv training step on a CPU.
    """
    half_turns = jnp.round(angle * np.float32(1 / np.pi))
    rest = (angle - half_turns * _PI[0]) - half_turns * _PI[1]
    squared = jnp.square(rest)

    def polynomial(coefficients: np.ndarray) -> Array:
        value = jnp.full_like(squared, coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            value = value * squared + coefficient
        return value

    return rest * polynomial(_SINE), polynomial(_COSINE)


@jax.custom_vjp
def snake(
    x: Float[Array, "batch time channels"], alpha: Float[Array, "1 1 channels"]
) -> Float[Array, "batch time channels"]:
    """``x + sin²(alpha x) / alpha``; ``x`` where alpha is 0."""
    sine, _ = _sine_cosine(alpha * x)
    return x + jnp.square(sine) * _inverse(alpha)


def _inverse(alpha: Array) -> Array:
    """``1 / alpha``, smoothed to 0 at 0."""
    return alpha / (jnp.square(alpha) + 1e-6)


def _snake_forwards(x: Array, alpha: Array) -> tuple[Array, tuple[Array, Array]]:
    return snake(x, alpha), (x, alpha)


def _snake_backwards(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, alpha = saved
    sine, cosine = _sine_cosine(alpha * x)
    inverse, slope = jax.jvp(_inverse, (alpha,), (jnp.ones_like(alpha),))
    double = 2 * sine * cosine
    by_alpha = gradient * (double * x * inverse + jnp.square(sine) * slope)
    return (
        gradient * (1 + double * alpha * inverse),
        by_alpha.sum((0, 1), keepdims=True),
    )


snake.defvjp(_snake_forwards, _snake_backwards)


class Snake(nn.Module):
    """``x + sin²(alpha x) / alpha``, with one learnt alpha per channel.

    Source: Ziyin, Hartwig and Ueda, "Neural networks fail to learn periodic functions and how to
    fix it", 2020.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"]
    ) -> Float[Array, "batch time channels"]:
        alpha = self.param("alpha", nn.initializers.ones, (x.shape[-1],))[None, None]
        return snake(x.astype(jnp.float32), alpha).astype(self.dtype)


class ResidualUnits(nn.Module):
    """Three times ``x + conv1(snake(conv7(snake(x))))``, with increasing dilation."""

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"]
    ) -> Float[Array, "batch time channels"]:
        channels = x.shape[-1]
        for dilation in _DILATIONS:
            y = Conv1D(channels, _KERNEL_SIZE, dilation, self.dtype)(Snake(self.dtype)(x))
            x = x + Dense(channels, dtype=self.dtype)(Snake(self.dtype)(y))
        return x


# Context of `ResidualUnits` and of a convolution over blocks, steps on either side.
_UNITS_CONTEXT = sum(_DILATIONS) * (_KERNEL_SIZE // 2)
_BLOCKS_CONTEXT = 1


def _steps(strides: tuple[int, ...]) -> list[int]:
    """Samples per step of each stage, then per block."""
    return [math.prod(strides[:stage]) for stage in range(len(strides) + 1)]


class Waves(nn.Module):
    """Base class of `WaveEncoder` and `WaveDecoder`.

    Attributes:
      out: output channels of the encoder; samples in a frame of the decoder.
      zero_start: whether it is initialised as the zero map.
      dtype: of the arithmetic.
    """

    out: int
    zero_start: bool
    dtype: Dtype = jnp.float32
    strides: tuple[int, ...] = key(
        (4, 8, 8),
        integers(2, 4096),
        "strides of the stages; their product must be the samples in a block",
    )
    width: int = key(32, between(1, 2**16), "channels at the rate of the samples")
    decoder_width: int = key(0, between(0, 2**16), "width of the decoder; 0: that of the encoder")
    dropout: float = key(0.1, between(0, 1), "dropout rate", per_member=True)
    takes_frames = True


class WaveDecoder(Waves):
    """The mirror of `WaveEncoder`: latents to frames of ``out`` samples."""

    @property
    def receptive_field(self) -> ReceptiveField:
        """In blocks."""
        samples = 0
        for step, coarser in itertools.pairwise(_steps(self.strides)):
            samples += _UNITS_CONTEXT * step
            samples = (math.ceil(samples / coarser) + _BLOCKS_CONTEXT) * coarser
        return (samples // coarser + _KERNEL_SIZE // 2,) * 2

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool
    ) -> Float[Array, "batch frames bins"]:
        stages = len(self.strides)
        x = Conv1D(self.width * 2**stages, _KERNEL_SIZE, dtype=self.dtype)(z)
        x = Dropout(self.dropout)(x, train=train)
        for stage in reversed(range(stages)):
            channels, stride = self.width * 2**stage, self.strides[stage]
            x = Conv1D(stride * channels, 3, dtype=self.dtype)(Snake(self.dtype)(x))
            x = ResidualUnits(self.dtype)(from_blocks(x, stride))
        x = Snake(self.dtype)(x)
        samples = last_layer(1, zero_start=self.zero_start, dtype=self.dtype)(x)
        return samples.reshape(z.shape[0], -1, self.out)


@encoders.register("wave_conv")
class WaveEncoder(Waves):
    """Strided convolutions: blocks of ``prod(strides)`` samples to ``out`` channels; each stride
    doubles the channels."""

    decoder = WaveDecoder

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """One channel of samples, and strides whose product is a block."""
        model, hop_length = config.model, config.representation.waveform.hop_length
        if config.representation.name != "waveform":
            raise UserError(
                "config.model.encoder='wave_conv' needs representation.name='waveform', not"
                f" {config.representation.name!r}"
            )
        if config.data.channels == "stereo":
            raise UserError(
                "config.model.encoder='wave_conv' takes one channel: set data.channels to"
                " 'mono' or 'each', not 'stereo'"
            )
        block, product = model.downsampling * hop_length, math.prod(model.wave_conv.strides)
        if product != block:
            raise UserError(
                f"config.model.wave_conv.strides={tuple(model.wave_conv.strides)} have the"
                f" product {product}; it must be representation.waveform.hop_length"
                f" x model.downsampling = {block}"
            )

    @property
    def receptive_field(self) -> ReceptiveField:
        """In blocks."""
        *stages, block = steps = _steps(self.strides)
        samples = (
            _KERNEL_SIZE // 2 + _UNITS_CONTEXT * sum(stages) + _BLOCKS_CONTEXT * sum(steps[1:])
        )
        return (math.ceil(samples / block),) * 2

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool
    ) -> Float[Array, "batch latent_frames out"]:
        samples = x.reshape(x.shape[0], -1, 1)
        x = Conv1D(self.width, _KERNEL_SIZE, dtype=self.dtype)(samples)
        for stage, stride in enumerate(self.strides):
            x = ResidualUnits(self.dtype)(x)
            x = to_blocks(Snake(self.dtype)(x), stride)
            # Three blocks wide, so that blocks have context beyond their edges.
            x = Conv1D(self.width * 2 ** (stage + 1), 3, dtype=self.dtype)(x)
        x = Dropout(self.dropout)(Snake(self.dtype)(x), train=train)
        return last_layer(self.out, zero_start=self.zero_start, dtype=self.dtype)(x)
