"""Decoders: latents to standardised features ``[batch, frames, bins]``."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax.models.blocks import EXACT, NO_REACH, Reach, dense, from_blocks


class ToBlocks(nn.Module):
    """A network from latents to blocks of frames, each laid out as one vector, as a decoder.

    Attributes:
      network: from latents to blocks.
      downsampling: frames in a block.
    """

    network: nn.Module
    downsampling: int

    @property
    def reach(self) -> Reach:
        """In latent frames."""
        return self.network.reach

    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool
    ) -> Float[Array, "batch frames bins"]:
        return from_blocks(self.network(z, train=train), self.downsampling)


class Decoder(nn.Module):
    """``y = V z + g(z)``: the mirror of `aejax.models.encoders.Encoder`.

    Attributes:
      downsampling: frames in a block.
      bins: in a frame.
      network: g, from latents to frames; None for V alone.
      linear: whether there is V.
    """

    downsampling: int
    bins: int
    network: nn.Module | None
    linear: bool

    @property
    def reach(self) -> Reach:
        """In latent frames."""
        return NO_REACH if self.network is None else self.network.reach

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool = False
    ) -> Float[Array, "batch frames bins"]:
        total = jnp.zeros((), z.dtype)
        if self.linear:
            blocks = dense(self.downsampling * self.bins, precision=EXACT, name="linear")(z)
            total = from_blocks(blocks, self.downsampling)
        if self.network is None:
            return total
        return total + self.network(z, train=train).astype(z.dtype)
