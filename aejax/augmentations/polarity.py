"""Turning over."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aejax.augmentations.base import Audio, Augmentation, of_rows
from aejax.parts import augmentations, fraction, key


@augmentations.register("polarity")
@dataclasses.dataclass(frozen=True)
class Polarity(Augmentation):
    """Samples times -1."""

    probability: float = key(0.0, fraction, "of turning an excerpt over; 0 is off")

    @property
    def is_on(self) -> bool:
        """Whether it ever happens."""
        return self.probability > 0

    def change(self, key: jax.Array, audio: Audio, length: Int[Array, " batch"]) -> Audio:
        """Some rows times -1."""
        del length
        return random_polarity(key, audio, self.probability)


def random_polarity(
    key: jax.Array, audio: Float[Array, "batch samples *channels"], probability: float
) -> Float[Array, "batch samples *channels"]:
    """Each row times -1, with that probability."""
    turned = jax.random.bernoulli(key, probability, audio.shape[:1])
    return audio * of_rows(jnp.where(turned, -1.0, 1.0), audio)
