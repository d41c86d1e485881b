"""Decoders: latents to standardised features ``[batch, frames, bins]``. Each mirrors an encoder."""

import flax.linen as nn
from jaxtyping import Array, Float

from aejax.models.blocks import ConvStack, from_blocks


class LinearDecoder(nn.Module):
    """One matrix from the latents to a block of ``downsampling`` frames."""

    downsampling: int
    bins: int

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool = False
    ) -> Float[Array, "batch frames bins"]:
        blocks = nn.Dense(self.downsampling * self.bins, name="linear")(z)
        return from_blocks(blocks, self.downsampling)


class ConvDecoder(nn.Module):
    """``y = V z + g(z)``: V fills one block, g is a stack of convolutions over latent frames."""

    downsampling: int
    bins: int
    width: int
    depth: int
    kernel_size: int
    dropout: float
    zero_start: bool

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool = False
    ) -> Float[Array, "batch frames bins"]:
        block = self.downsampling * self.bins
        stack = ConvStack(
            out=block,
            width=self.width,
            depth=self.depth,
            kernel_size=self.kernel_size,
            dropout=self.dropout,
            zero_start=self.zero_start,
        )
        blocks = nn.Dense(block, name="linear")(z) + stack(z, train=train)
        return from_blocks(blocks, self.downsampling)
