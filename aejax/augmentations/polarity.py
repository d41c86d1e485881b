"""Random polarity."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from aejax.augmentations.base import Audio, Augmentation, of_rows
from aejax.parts import augmentations, fraction, key


@augmentations.register("polarity")
@dataclasses.dataclass(frozen=True)
class Polarity(Augmentation):
    """Polarity inverted: samples times -1."""

    probability: float = key(0.0, fraction, "probability of inverting an excerpt; 0 is off")

    @property
    def is_on(self) -> bool:
        """Whether the probability is above 0."""
        return self.probability > 0

    def change(self, key: jax.Array, audio: Audio, length: Int[Array, " batch"]) -> Audio:
        """Audio with random rows times -1."""
        del length
        inverted = jax.random.bernoulli(key, self.probability, audio.shape[:1])
        return audio * of_rows(jnp.where(inverted, -1.0, 1.0), audio)
