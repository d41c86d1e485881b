"""The encoder: standardised features ``[batch, frames, bins]`` to latents."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax.models.blocks import NO_CONTEXT, Dense, ReceptiveField, last_layer, to_blocks
from aejax.models.encoders.base import receptive_field_of
from aejax.signal.products import EXACT


class Encoder(nn.Module):
    """``z = W x + f(x)``, or one of the two terms: W is linear in one block, f may use context.

    Attributes:
      downsampling: frames in a block.
      channels: output channels, the input of the bottleneck.
      network: f, from frames to latents; None for W alone, which is as expressive as PCA.
      linear: whether there is W.
      zero_layer: whether a dense layer after f is initialised as the zero map.
    """

    downsampling: int
    channels: int
    network: nn.Module | None
    linear: bool
    zero_layer: bool = False

    @property
    def receptive_field(self) -> ReceptiveField:
        """In latent frames."""
        return NO_CONTEXT if self.network is None else receptive_field_of(self.network)

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames bins"], *, train: bool = False
    ) -> Float[Array, "batch latent_frames channels"]:
        total = jnp.zeros((), x.dtype)
        if self.linear:
            blocks = to_blocks(x, self.downsampling)
            total = Dense(self.channels, precision=EXACT, name="linear")(blocks)
        if self.network is None:
            return total
        latents = self.network(x, train=train).astype(x.dtype)
        if self.zero_layer:
            latents = last_layer(self.channels, zero_start=True, dtype=x.dtype)(latents)
        return total + latents
