"""Encoders: standardised features ``[batch, frames, bins]`` to latents."""

import flax.linen as nn
from jaxtyping import Array, Float

from aejax.models.blocks import ConvStack, to_blocks


class LinearEncoder(nn.Module):
    """One matrix from a block of ``downsampling`` frames to its latents: what PCA can do."""

    downsampling: int
    latent_dim: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool = False
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        return nn.Dense(self.latent_dim, name="linear")(to_blocks(x, self.downsampling))


class ConvEncoder(nn.Module):
    """``z = W x + f(x)``: W sees one block, f is a stack of convolutions over blocks."""

    downsampling: int
    latent_dim: int
    width: int
    depth: int
    kernel_size: int
    dropout: float
    zero_start: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool = False
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        blocks = to_blocks(x, self.downsampling)
        linear = nn.Dense(self.latent_dim, name="linear")(blocks)
        stack = ConvStack(
            out=self.latent_dim,
            width=self.width,
            depth=self.depth,
            kernel_size=self.kernel_size,
            dropout=self.dropout,
            zero_start=self.zero_start,
        )
        return linear + stack(blocks, train=train)
