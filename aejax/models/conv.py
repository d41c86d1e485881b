"""Residual convolutions over frames, halved in rate until there is one step for each latent frame.

Every rate costs alike: where there are twice the steps there are 1/sqrt(2) of the channels.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax.models.blocks import Dtype, ResidualBlock, from_blocks, last_layer, to_blocks


def prime_factors(number: int) -> tuple[int, ...]:
    """In ascending order; none of 1."""
    factors, factor = [], 2
    while number > 1:
        if number % factor == 0:
            factors.append(factor)
            number //= factor
        else:
            factor += 1
    return tuple(factors)


def channels_at(steps: int, width: int) -> int:
    """Channels where there are ``steps`` for each latent frame: a multiple of 8."""
    return max(round(width / steps**0.5 / 8), 1) * 8


class _ConvNetwork(nn.Module):
    """What encoder and decoder share.

    Attributes:
      out: channels that come out.
      downsampling: frames in a block.
      width: channels at the rate of the latents.
      depth: residual blocks at that rate; there is one at each of the faster ones.
      kernel_size: steps in time that each residual block sees.
      dropout: fraction dropped inside each residual block.
      zero_start: begin as the map to zero.
      dtype: of the arithmetic.
    """

    out: int
    downsampling: int
    width: int
    depth: int
    kernel_size: int
    dropout: float
    zero_start: bool
    dtype: Dtype = jnp.float32

    def _dense(self, x: Array, channels: int) -> Array:
        return nn.Dense(channels, dtype=self.dtype)(x)

    def _residual(self, x: Array, *, train: bool) -> Array:
        return ResidualBlock(self.kernel_size, self.dropout, self.dtype)(x, train=train)

    def _last(self, x: Array) -> Array:
        x = nn.LayerNorm(dtype=self.dtype)(x)
        return last_layer(self.out, zero_start=self.zero_start, dtype=self.dtype)(x)


class ConvEncoder(_ConvNetwork):
    """Frames to what the bottleneck takes, ever fewer steps with ever more channels."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool
    ) -> Float[Array, "batch latent_frames out"]:
        steps = self.downsampling
        x = self._dense(x, channels_at(steps, self.width))
        for factor in prime_factors(self.downsampling):
            x = self._residual(x, train=train)
            steps //= factor
            x = self._dense(to_blocks(x, factor), channels_at(steps, self.width))
        for _ in range(self.depth):
            x = self._residual(x, train=train)
        return self._last(x)


class ConvDecoder(_ConvNetwork):
    """Latents to frames: the mirror of `ConvEncoder`."""

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool
    ) -> Float[Array, "batch frames out"]:
        steps = 1
        x = self._dense(z, channels_at(steps, self.width))
        for _ in range(self.depth):
            x = self._residual(x, train=train)
        for factor in reversed(prime_factors(self.downsampling)):
            steps *= factor
            x = from_blocks(self._dense(x, factor * channels_at(steps, self.width)), factor)
            x = self._residual(x, train=train)
        return self._last(x)


def decoder_reach(downsampling: int, depth: int, kernel_size: int) -> int:
    """Latent frames on either side of its own that a frame of `ConvDecoder` depends on."""
    stride, frames = downsampling, depth * downsampling
    for factor in reversed(prime_factors(downsampling)):
        stride //= factor
        frames += stride
    return -(-(kernel_size // 2) * frames // downsampling)
