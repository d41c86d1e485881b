"""Mixing excerpts."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from aejax import signal
from aejax.augmentations.base import Audio, Augmentation, of_rows
from aejax.parts import augmentations, fraction, key

_LOWEST_DB = -40.0  # gain of the other excerpt


@augmentations.register("mix")
@dataclasses.dataclass(frozen=True)
class Mix(Augmentation):
    """Another excerpt of the batch mixed in, attenuated by 0 to 40 dB.

    It helps most on small corpora, which have few mixtures of sounds.
    """

    probability: float = key(0.5, fraction, "probability of mixing another excerpt in; 0 is off")

    @property
    def is_on(self) -> bool:
        """Whether the probability is above 0."""
        return self.probability > 0

    def change(self, key: jax.Array, audio: Audio, length: Int[Array, " batch"]) -> Audio:
        """Audio with the previous row added to random rows."""
        del length
        choice_key, level_key = jax.random.split(key)
        rows = (audio.shape[0],)
        chosen = jax.random.bernoulli(choice_key, self.probability, rows)
        gain_db = jax.random.uniform(level_key, rows, minval=_LOWEST_DB, maxval=0.0)
        gain = jnp.where(chosen, signal.db_to_amplitude(gain_db), 0.0)
        return audio + of_rows(gain, audio) * jnp.roll(audio, 1, axis=0)
