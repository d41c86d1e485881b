"""Encoders: standardised features ``[batch, frames, bins]`` to latents."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax.models.blocks import EXACT, NO_REACH, Reach, dense, from_blocks, to_blocks


class OfBlocks(nn.Module):
    """A network over blocks of frames, each laid out as one vector, as an encoder.

    Attributes:
      network: from blocks to as many channels as the bottleneck takes.
      downsampling: frames in a block.
    """

    network: nn.Module
    downsampling: int

    @property
    def reach(self) -> Reach:
        """In latent frames."""
        return self.network.reach

    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool
    ) -> Float[Array, "batch latent_frames out"]:
        return self.network(to_blocks(x, self.downsampling), train=train)


class Encoder(nn.Module):
    """``z = W x + f(x)``, where W sees one block of frames and f may see more; or one of the two.

    Attributes:
      downsampling: frames in a block.
      channels: that the bottleneck takes of each block.
      network: f, from frames; None for W alone, which is what PCA can do.
      linear: whether there is W.
    """

    downsampling: int
    channels: int
    network: nn.Module | None
    linear: bool

    @property
    def reach(self) -> Reach:
        """In latent frames."""
        return NO_REACH if self.network is None else self.network.reach

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool = False
    ) -> Float[Array, "batch latent_frames channels"]:
        total = jnp.zeros((), x.dtype)
        if self.linear:
            blocks = to_blocks(x, self.downsampling)
            total = dense(self.channels, precision=EXACT, name="linear")(blocks)
        if self.network is None:
            return total
        return total + self.network(x, train=train).astype(x.dtype)


# Magnitudes of standardised features below this, squared, are silence to a network.
_SILENCE = 1e-4


class MaskEncoder(nn.Module):
    """``z = W (m x)`` of complex features x, where W sees one block of frames and m, a gain for
    each bin, is what a network makes of magnitudes: what is noise can be left out before W, and
    which that is cannot be told from phases.

    Attributes:
      downsampling: frames in a block.
      channels: that the bottleneck takes of each block.
      network: from logarithms of magnitudes to gains, 0 for 1, over ``bins / 2``.
    """

    downsampling: int
    channels: int
    network: nn.Module

    @property
    def reach(self) -> Reach:
        """In latent frames."""
        return self.network.reach

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool = False
    ) -> Float[Array, "batch latent_frames channels"]:
        real, imaginary = jnp.split(x, 2, axis=-1)
        level = 0.5 * jnp.log(jnp.square(real) + jnp.square(imaginary) + _SILENCE)
        found = self.network(level, train=train).astype(x.dtype)
        gain = 1 + jnp.tanh(from_blocks(found, self.downsampling))
        left = jnp.concatenate([gain * real, gain * imaginary], axis=-1)
        blocks = to_blocks(left, self.downsampling)
        return dense(self.channels, precision=EXACT, name="linear")(blocks)
