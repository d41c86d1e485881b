"""What encoders and decoders are built of. Arrays are ``[batch, time, channels]``."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# What has to be exact is computed in full float32, also where an accelerator's default is less.
EXACT = jax.lax.Precision.HIGHEST
matmul = functools.partial(jnp.matmul, precision=EXACT)


def to_blocks(
    x: Float[Array, "batch frames bins"], downsampling: int
) -> Float[Array, "batch latent_frames block"]:
    """Cuts frames into blocks of ``downsampling``, each laid out as one vector."""
    batch, frames, bins = x.shape
    return x.reshape(batch, frames // downsampling, downsampling * bins)


def from_blocks(
    x: Float[Array, "batch latent_frames block"], downsampling: int
) -> Float[Array, "batch frames bins"]:
    """Inverse of `to_blocks`."""
    batch, latent_frames, block = x.shape
    return x.reshape(batch, latent_frames * downsampling, block // downsampling)


class Conv1D(nn.Module):
    """Convolution along time, "same" length, zeros beyond the ends.

    Lowered as shifted slices and one matrix product: as fast as the library's convolution here
    (few steps, many channels), and it stays so under ``vmap`` over the weights.
    """

    features: int
    kernel_size: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch time channels"]) -> Float[Array, "batch time out"]:
        steps, reach = x.shape[-2], self.kernel_size // 2
        padded = jnp.pad(x, ((0, 0), (reach, self.kernel_size - 1 - reach), (0, 0)))
        taps = [padded[:, i : i + steps] for i in range(self.kernel_size)]
        return nn.Dense(self.features)(jnp.concatenate(taps, axis=-1))


class ResidualBlock(nn.Module):
    """``x + dense(dropout(gelu(conv(norm(x)))))``."""

    kernel_size: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> Float[Array, "batch time channels"]:
        y = nn.LayerNorm()(x)
        y = jax.nn.gelu(Conv1D(x.shape[-1], self.kernel_size)(y))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        return x + nn.Dense(x.shape[-1])(y)


class ConvStack(nn.Module):
    """A non-linear map of ``out`` channels, whose last layer can start at zero.

    Attributes:
      out: channels that come out.
      width: channels inside.
      depth: residual blocks.
      kernel_size: steps in time that each block sees.
      dropout: fraction dropped inside each block.
      zero_start: begin as the map to zero.
    """

    out: int
    width: int
    depth: int
    kernel_size: int
    dropout: float
    zero_start: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> Float[Array, "batch time out"]:
        x = nn.Dense(self.width)(x)
        for _ in range(self.depth):
            x = ResidualBlock(self.kernel_size, self.dropout)(x, train=train)
        x = nn.LayerNorm()(x)
        init = nn.initializers.zeros if self.zero_start else nn.linear.default_kernel_init
        return nn.Dense(self.out, kernel_init=init)(x)
