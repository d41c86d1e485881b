"""The decoder: latents to standardised features ``[batch, frames, bins]``."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aejax.models.blocks import EXACT, NO_CONTEXT, ReceptiveField, dense, from_blocks, last_layer
from aejax.models.encoders.base import receptive_field_of

# Numbers that stand for a speaker.
_ABOUT_SPEAKER = 64

# Numbers of speakers, of each row: from 1 on, and 0 for one that is not known.
Speaker = Int[Array, " batch"] | None


class Decoder(nn.Module):
    """``y = V z + g(z)``: the mirror of `aejax.models.encoder.Encoder`. Where there are speakers,
    g is told by a learnt vector who speaks.

    Attributes:
      downsampling: frames in a block.
      bins: in a frame.
      network: g, from latents to frames; None for V alone.
      linear: whether there is V.
      speakers: how many there are; 0 where g is not told.
      zero_layer: put a dense layer behind g that begins as the map to zero.
    """

    downsampling: int
    bins: int
    network: nn.Module | None
    linear: bool
    speakers: int = 0
    zero_layer: bool = False

    @property
    def receptive_field(self) -> ReceptiveField:
        """In latent frames."""
        return NO_CONTEXT if self.network is None else receptive_field_of(self.network)

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "batch latent_frames latent_dim"],
        speaker: Speaker = None,
        *,
        train: bool = False,
    ) -> Float[Array, "batch frames bins"]:
        total = jnp.zeros((), z.dtype)
        if self.linear:
            blocks = dense(self.downsampling * self.bins, precision=EXACT, name="linear")(z)
            total = from_blocks(blocks, self.downsampling)
        if self.network is None:
            return total
        given = z
        if self.speakers:
            number = jnp.zeros(len(z), jnp.int32) if speaker is None else speaker
            about = nn.Embed(self.speakers + 1, _ABOUT_SPEAKER, name="speakers")(number)
            about = jnp.broadcast_to(about[:, None], (*z.shape[:2], _ABOUT_SPEAKER))
            # Before the latents: a population grows those at their end.
            given = jnp.concatenate([about, z], axis=-1)
        frames = self.network(given, train=train).astype(z.dtype)
        if self.zero_layer:
            frames = last_layer(self.bins, zero_start=True, dtype=z.dtype)(frames)
        return total + frames
