"""Decoders: latents to standardised features ``[batch, frames, bins]``."""

import flax.linen as nn
from jaxtyping import Array, Float

from aejax.models.blocks import EXACT, from_blocks


class Decoder(nn.Module):
    """``y = V z + g(z)``: the mirror of `aejax.models.encoders.Encoder`.

    Attributes:
      downsampling: frames in a block.
      bins: in a frame.
      nonlinear: g, from latents to blocks; None for V alone.
    """

    downsampling: int
    bins: int
    nonlinear: nn.Module | None

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent_frames latent_dim"], *, train: bool = False
    ) -> Float[Array, "batch frames bins"]:
        blocks = nn.Dense(self.downsampling * self.bins, precision=EXACT, name="linear")(z)
        if self.nonlinear is not None:
            blocks = blocks + self.nonlinear(z, train=train)
        return from_blocks(blocks, self.downsampling)
