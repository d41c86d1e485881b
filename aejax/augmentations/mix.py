"""Mixing excerpts."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aejax import signal
from aejax.augmentations.base import Audio, Augmentation, of_rows
from aejax.parts import augmentations, fraction, key

# How much softer than itself the excerpt is that another is mixed with, dB.
_SOFTEST_DB = -40.0


@augmentations.register("mix")
@dataclasses.dataclass(frozen=True)
class Mix(Augmentation):
    """Another excerpt of the batch mixed in, 0 to 40 dB softer than it is."""

    probability: float = key(0.5, fraction, "of mixing another excerpt in; 0 is off")

    @property
    def is_on(self) -> bool:
        """Whether it ever happens."""
        return self.probability > 0

    def change(self, key: jax.Array, audio: Audio, length: Int[Array, " batch"]) -> Audio:
        """Audio with another row in some of its rows."""
        del length
        return random_mix(key, audio, self.probability)


def random_mix(
    key: jax.Array, audio: Float[Array, "batch samples *channels"], probability: float
) -> Float[Array, "batch samples *channels"]:
    """Each row with the next one added to it, with that probability, 0 to 40 dB softer than it is.

    New mixtures of known sounds: what a corpus of a few minutes lacks most.
    """
    choice_key, level_key = jax.random.split(key)
    rows = (audio.shape[0],)
    chosen = jax.random.bernoulli(choice_key, probability, rows)
    level = jax.random.uniform(level_key, rows, minval=_SOFTEST_DB, maxval=0.0)
    amount = jnp.where(chosen, signal.db_to_amplitude(level), 0.0)
    return audio + of_rows(amount, audio) * jnp.roll(audio, 1, axis=0)
