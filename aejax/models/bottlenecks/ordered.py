"""Latents sorted by importance."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax.models.bottlenecks.base import Bottleneck, Latents, Mask
from aejax.parts import bottlenecks


@bottlenecks.register("ordered")
class Ordered(Bottleneck):
    """Nested dropout: in training, each excerpt keeps its first k latents only, k drawn
    log-uniformly, so that latents come out sorted by importance.

    Another objective than that of a model of one size: it is the mean error over all sizes.
    Source: Rippel, Gelbart and Adams, "Learning ordered representations with nested dropout", 2014.
    """

    sizes = "latents"

    @property
    def random(self) -> bool:
        """A random number of latents is kept."""
        return True

    def __call__(self, z: Latents, mask: Mask, *, train: bool) -> Latents:
        del mask, train
        if not self.has_rng("latents"):
            return z
        place = jax.random.uniform(self.make_rng("latents"), (z.shape[0], 1, 1))
        kept = jnp.exp(place * math.log(self.latent_dim + 1))  # from 1 to latent_dim + 1
        return _first(z, jnp.floor(kept))

    def first(self, z: Latents, kept: int) -> Latents:
        """Latents with all but the first ``kept`` set to 0."""
        return _first(z, jnp.full((1, 1, 1), kept, z.dtype))


def _first(z: Latents, kept: Float[Array, "#batch 1 1"]) -> Latents:
    order = jnp.arange(z.shape[-1], dtype=z.dtype)[None, None]
    return jnp.where(order < kept, z, jnp.zeros_like(z))
