"""Encoders: standardised features ``[batch, frames, bins]`` to latents."""

import flax.linen as nn
from jaxtyping import Array, Float

from aejax.models.blocks import EXACT, to_blocks


class Encoder(nn.Module):
    """``z = W x + f(x)``, where W sees one block of frames and f, if there is one, may see more.

    Attributes:
      downsampling: frames in a block.
      latent_dim: floats in a latent frame.
      nonlinear: f, from blocks to as many channels as there are latents; None for W alone, which
        is what PCA can do.
    """

    downsampling: int
    latent_dim: int
    nonlinear: nn.Module | None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool = False
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        blocks = to_blocks(x, self.downsampling)
        latents = nn.Dense(self.latent_dim, precision=EXACT, name="linear")(blocks)
        return latents if self.nonlinear is None else latents + self.nonlinear(blocks, train=train)
