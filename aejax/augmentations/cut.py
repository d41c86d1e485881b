"""Hard onsets and ends."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aejax.augmentations.base import Audio, Augmentation
from aejax.parts import augmentations, fraction, key


@augmentations.register("cut")
@dataclasses.dataclass(frozen=True)
class Cut(Augmentation):
    """Silence before a random sample, after one, or both: onsets and ends as hard as they come."""

    probability: float = key(0.1, fraction, "of beginning or ending abruptly; 0 is off")

    @property
    def is_on(self) -> bool:
        """Whether it ever happens."""
        return self.probability > 0

    def change(self, key: jax.Array, audio: Audio, length: Int[Array, " batch"]) -> Audio:
        """Some rows with silence at an end."""
        del length
        return random_cut(key, audio, self.probability)


def random_cut(
    key: jax.Array, audio: Float[Array, "batch samples *channels"], probability: float
) -> Float[Array, "batch samples *channels"]:
    """Each row, with that probability, with silence before a random sample of its first half, after
    one of its second half, or both: onsets and ends as hard as they come."""
    choice_key, start_key, end_key = jax.random.split(key, 3)
    rows, samples = audio.shape[:2]
    chosen = jax.random.bernoulli(choice_key, probability, (rows,))
    # Half of the draws lie beyond the row, and cut nothing.
    start = jax.random.randint(start_key, (rows,), -(samples // 2), samples // 2)
    end = jax.random.randint(end_key, (rows,), samples // 2, 2 * samples - samples // 2)
    sample = jnp.arange(samples)[None]
    sounds = (sample >= start[:, None]) & (sample < end[:, None]) | ~chosen[:, None]
    return jnp.where(sounds.reshape(rows, samples, *[1] * (audio.ndim - 2)), audio, 0.0)
