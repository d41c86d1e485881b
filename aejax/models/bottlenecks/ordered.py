"""Latents sorted by importance."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax.models.bottlenecks.base import Bottleneck, Latents, Mask
from aejax.parts import bottlenecks


@bottlenecks.register("ordered")
class Ordered(Bottleneck):
    """Nested dropout: latents sorted by importance. In training, all but the first k latents of an
    excerpt are 0, with k drawn log-uniformly.

    The objective is the mean error over all sizes, not the error of one size.
    Source: Rippel, Gelbart and Adams, "Learning ordered representations with nested dropout", 2014.
    """

    sizes = "latents"

    @property
    def random(self) -> bool:
        """The number of used latents is random."""
        return True

    def __call__(self, z: Latents, mask: Mask, *, train: bool) -> Latents:
        del mask, train
        if not self.has_rng("latents"):
            return z
        uniform = jax.random.uniform(self.make_rng("latents"), (z.shape[0], 1, 1))
        count = jnp.exp(uniform * math.log(self.latent_dim + 1))  # from 1 to latent_dim + 1
        return _first(z, jnp.floor(count))

    def first(self, z: Latents, count: int) -> Latents:
        """Latents with all but the first ``count`` set to 0."""
        return _first(z, jnp.full((1, 1, 1), count, z.dtype))


def _first(z: Latents, count: Float[Array, "#batch 1 1"]) -> Latents:
    order = jnp.arange(z.shape[-1], dtype=z.dtype)[None, None]
    return jnp.where(order < count, z, jnp.zeros_like(z))
