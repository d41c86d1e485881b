"""Latents with noise."""

import jax

from aejax.models.bottlenecks.base import Latents, Mask
from aejax.models.bottlenecks.tanh import Bounded
from aejax.parts import above, bottlenecks, key


@bottlenecks.register("noise")
class Noise(Bounded):
    """Bounded latents with Gaussian noise in training, which limits the information in each latent.

    Without the bound, large latents would make the noise ineffective.
    """

    level: float = key(0.1, above(0), "standard deviation of the noise in training")

    @property
    def random(self) -> bool:
        """Noise is added."""
        return True

    def __call__(self, z: Latents, mask: Mask, *, train: bool) -> Latents:
        z = super().__call__(z, mask, train=train)
        if not self.has_rng("latents"):
            return z
        return z + self.level * jax.random.normal(self.make_rng("latents"), z.shape, z.dtype)
