"""Bottlenecks: what happens to the latents between encoder and decoder.

A bottleneck takes ``channels`` numbers of each latent frame from the encoder and gives
``latent_dim`` to the decoder. What it adds to the loss it sows into the collection "losses", by
name, a scalar each; `weights` says how much each counts at a step.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from aejax.parts import bottlenecks

Latents = Float[Array, "batch latent_frames latent_dim"]
Mask = Bool[Array, "batch latent_frames"] | None


def masked_mean(values: Float[Array, "batch latent_frames *rest"], mask: Mask) -> Array:
    """Mean over the latent frames that count, ``[*rest]``; 0 where there is none."""
    if mask is None:
        return values.mean((0, 1))
    weight = mask.astype(values.dtype).reshape(*mask.shape, *[1] * (values.ndim - 2))
    return (values * weight).sum((0, 1)) / jnp.maximum(weight.sum(), 1)


class Bottleneck(nn.Module):
    """What happens to latents between encoder and decoder: here, nothing.

    Attributes:
      latent_dim: floats in a latent frame.
      latent_by_latent: whether each latent is treated by itself, and nothing is drawn for it: such
        models of several sizes can be trained by one compiled step.
      bounded: whether there are places that latents cannot be moved to.
      quantises: whether latents are one of a few values.
      sizes: what ``evaluate.cuts`` counts, "latents" or "codebooks", where the first of them can do
        without the others.
    """

    latent_dim: int
    latent_by_latent = False
    bounded = False
    quantises = False
    sizes = ""

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Raises UserError for keys that do not go together."""

    @property
    def channels(self) -> int:
        """Numbers of each latent frame that the encoder has to give."""
        return self.latent_dim

    @property
    def whitened(self) -> bool:
        """Whether latents that begin at PCA each have unit variance, or all one scale."""
        return True

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Of the codes that stand for a latent frame; none where latents are real numbers."""
        return ()

    @property
    def random(self) -> bool:
        """Whether what is learnt from is random latents, where a key for "latents" is given; in
        use, without a key, they never are."""
        return False

    def weights(self, step: Int[Array, ""]) -> dict[str, Float[Array, ""] | float]:
        """By name, how much of each sown loss counts at a step."""
        del step
        return {}

    def __call__(
        self, z: Float[Array, "batch latent_frames channels"], mask: Mask, *, train: bool
    ) -> Latents:
        del mask, train
        return z

    def add_loss(self, name: str, value: Float[Array, ""]) -> None:
        """Sows a loss."""
        self.sow("losses", name, value, init_fn=lambda: None, reduce_fn=lambda _, new: new)


@bottlenecks.register("none")
class Identity(Bottleneck):
    """Latents pass as they are: ``latent_dim`` real numbers per latent frame."""

    latent_by_latent = True
