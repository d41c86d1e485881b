"""Latents rounded to a few levels."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aejax.models.bottlenecks.base import Latents, Mask
from aejax.models.bottlenecks.tanh import Bounded
from aejax.parts import bottlenecks, integers, key


@bottlenecks.register("fsq")
class FSQ(Bounded):
    """Finite scalar quantisation: each latent is rounded to one of a few levels, evenly spaced
    after a tanh; straight-through gradients.

    Source: Mentzer et al., "Finite scalar quantization: VQ-VAE made simple", 2024; here the
    outermost levels are the bound itself, for even and odd numbers of levels alike.
    """

    levels: tuple[int, ...] = key(
        (8,), integers(2, 2**16), "number of levels of the first latent, the second, ..., repeated"
    )
    quantises = True

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Levels of each latent."""
        return tuple(self.levels[i % len(self.levels)] for i in range(self.latent_dim))

    def __call__(self, z: Latents, mask: Mask, *, train: bool) -> Latents:
        del mask, train
        steps, level = self._level(z)
        rounded = level + jax.lax.stop_gradient(jnp.round(level) - level)
        return self.bound * (2 * rounded / steps - 1)

    def codes(
        self, z: Float[Array, "batch latent_frames channels"]
    ) -> Int[Array, "batch latent_frames codes"]:
        """The levels that latents are rounded to, from 0."""
        return jnp.round(self._level(z)[1]).astype(jnp.int32)

    def _level(self, z: Latents) -> tuple[Array, Array]:
        """Number of levels minus 1, and the level of each latent before rounding."""
        steps = jnp.asarray(self.codebook_sizes, z.dtype)[None, None] - 1
        return steps, (jnp.tanh(z / self.bound) + 1) / 2 * steps
