"""Bounded latents."""

import jax.numpy as jnp

from aejax.models.bottlenecks.base import Bottleneck, Latents, Mask
from aejax.parts import above, bottlenecks, key


class Bounded(Bottleneck):
    """``bound * tanh(z / bound)``, close to ``z`` where that is small."""

    bound: float = key(3.0, above(0), "largest magnitude; latents begin with unit variance")
    bounded = True

    def __call__(self, z: Latents, mask: Mask, *, train: bool) -> Latents:
        del mask, train
        return self.bound * jnp.tanh(z / self.bound)


@bottlenecks.register("tanh")
class Tanh(Bounded):
    """Bounded latents: ``bound * tanh(z / bound)``, close to ``z`` where that is small."""

    latent_by_latent = True
