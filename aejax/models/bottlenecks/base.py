"""Base class of bottlenecks, between encoder and decoder.

A bottleneck maps ``channels`` numbers per latent frame to ``latent_dim``. It sows its losses,
named scalars, into the collection "losses"; `weights` are their weights at a step.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from aejax.parts import bottlenecks

Latents = Float[Array, "batch latent_frames latent_dim"]
Mask = Bool[Array, "batch latent_frames"] | None


def masked_mean(values: Float[Array, "batch latent_frames *rest"], mask: Mask) -> Array:
    """Mean over valid latent frames, ``[*rest]``; 0 if there are none."""
    if mask is None:
        return values.mean((0, 1))
    weight = mask.astype(values.dtype).reshape(*mask.shape, *[1] * (values.ndim - 2))
    return (values * weight).sum((0, 1)) / jnp.maximum(weight.sum(), 1)


class Bottleneck(nn.Module):
    """Base class: latents pass unchanged.

    Attributes:
      latent_dim: floats in a latent frame.
      latent_by_latent: whether it maps each latent independently and deterministically; models with
        several ``latent_dim`` can then be trained by one compiled step.
      bounded: whether latents are confined to a range or to a set of values.
      quantises: whether latents take a finite number of values.
      sizes: unit of ``evaluate.nested_sizes``, "latents" or "codebooks", if the first of them can
        be decoded without the others.
    """

    latent_dim: int
    latent_by_latent = False
    bounded = False
    quantises = False
    sizes = ""

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Raises UserError for incompatible keys."""

    @property
    def channels(self) -> int:
        """Numbers per latent frame that the encoder outputs."""
        return self.latent_dim

    @property
    def whitened(self) -> bool:
        """True: latents that start at PCA are whitened. False: they have one common scale."""
        return True

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Sizes of the codebooks of a latent frame; empty if latents are real numbers."""
        return ()

    @property
    def random(self) -> bool:
        """Whether the bottleneck is stochastic, given a random key "latents" (as in training)."""
        return False

    def weights(self, step: Int[Array, ""]) -> dict[str, Float[Array, ""] | float]:
        """Weight of each sown loss at a step, by name."""
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
    """Latents pass unchanged: ``latent_dim`` real numbers per latent frame."""

    latent_by_latent = True
