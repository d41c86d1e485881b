"""The decoder: latents to standardised features ``[batch, frames, bins]``."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aejax.models.blocks import NO_CONTEXT, Dense, ReceptiveField, from_blocks, last_layer
from aejax.models.encoders.base import receptive_field_of
from aejax.signal.indexing import take
from aejax.signal.products import EXACT

_SPEAKER_DIM = 64  # of the speaker embedding

# The speaker of each row, from 1; 0 is unknown.
Speaker = Int[Array, " batch"] | None


class Decoder(nn.Module):
    """``y = V z + g(z)``, the mirror of `aejax.models.encoder.Encoder`. With speakers, g also takes
    a learnt speaker embedding.

    Attributes:
      downsampling: frames in a block.
      bins: features in a frame.
      network: g, from latents to frames; None for V alone.
      linear: whether there is V.
      speakers: number of speakers; 0 for an unconditioned decoder.
      zero_layer: whether a dense layer after g is initialised as the zero map.
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
            blocks = Dense(self.downsampling * self.bins, precision=EXACT, name="linear")(z)
            total = from_blocks(blocks, self.downsampling)
        if self.network is None:
            return total
        inputs = z
        if self.speakers:
            index = jnp.zeros(len(z), jnp.int32) if speaker is None else speaker
            table = nn.Embed(self.speakers + 1, _SPEAKER_DIM, name="speakers")
            embedding = take(table.embedding, index)
            embedding = jnp.broadcast_to(embedding[:, None], (*z.shape[:2], _SPEAKER_DIM))
            # Before the latents, since a population pads latents at the end.
            inputs = jnp.concatenate([embedding, z], axis=-1)
        frames = self.network(inputs, train=train).astype(z.dtype)
        if self.zero_layer:
            frames = last_layer(self.bins, zero_start=True, dtype=z.dtype)(frames)
        return total + frames
