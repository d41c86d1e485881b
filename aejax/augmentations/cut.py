"""Abrupt onsets and ends."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from aejax.augmentations.base import Audio, Augmentation
from aejax.parts import augmentations, fraction, key


@augmentations.register("cut")
@dataclasses.dataclass(frozen=True)
class Cut(Augmentation):
    """Abrupt onsets and ends: silence before a random sample, after one, or both."""

    probability: float = key(0.1, fraction, "probability of an abrupt onset or end; 0 is off")

    @property
    def is_on(self) -> bool:
        """Whether the probability is above 0."""
        return self.probability > 0

    def change(self, key: jax.Array, audio: Audio, length: Int[Array, " batch"]) -> Audio:
        """Silences random rows up to a sample in their first half, from one in their second half,
        or both."""
        del length
        choice_key, start_key, end_key = jax.random.split(key, 3)
        rows, samples = audio.shape[:2]
        chosen = jax.random.bernoulli(choice_key, self.probability, (rows,))
        # Half of the draws are outside of the row and change nothing.
        start = jax.random.randint(start_key, (rows,), -(samples // 2), samples // 2)
        end = jax.random.randint(end_key, (rows,), samples // 2, 2 * samples - samples // 2)
        sample = jnp.arange(samples)[None]
        inside = (sample >= start[:, None]) & (sample < end[:, None]) | ~chosen[:, None]
        return jnp.where(inside.reshape(rows, samples, *[1] * (audio.ndim - 2)), audio, 0.0)
