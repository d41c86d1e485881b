"""Playing faster or slower."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from aejax import parts, signal
from aejax.augmentations.base import Augmentation, Example
from aejax.parts import augmentations, fraction, key, pair


@augmentations.register("speed")
@dataclasses.dataclass(frozen=True)
class Speed(Augmentation):
    """Played faster or slower, pitch and all, by a log-uniform factor.

    Attributes:
      samples: that come out.
    """

    samples: int
    range: tuple[float, float] = key(
        (0.6, 1.6), pair(0.25, 4), "lowest and highest factor; (1.0, 1.0) is off"
    )
    probability: float = key(0.75, fraction, "of playing an excerpt at another speed at all")
    also_noise = True

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """A range that its probability is about."""
        is_on = tuple(config.augment.speed.range) != (1.0, 1.0)
        parts.needs(cls, config, "augment.speed.probability", "augment.speed.range", is_on)

    @property
    def is_on(self) -> bool:
        """Whether there is another speed than 1."""
        return self.range != (1.0, 1.0)

    def span(self, samples: int) -> int:
        """Samples that have to be read for so many to be there at the highest speed."""
        return math.ceil(samples * max(1.0, self.range[1]))

    def __call__(self, key: jax.Array, example: Example) -> Example:
        """An example of `samples` samples."""
        audio, length = random_speed(
            key,
            example.target,
            example.length,
            example.position,
            self.range,
            self.probability,
            samples=self.samples,
        )
        return example.with_target(audio)._replace(length=length)


def random_speed(
    key: jax.Array,
    audio: Float[Array, "batch span *channels"],
    length: Int[Array, " batch"],
    position: Float[Array, " batch"],
    speed: tuple[float, float],
    probability: float,
    *,
    samples: int,
) -> tuple[Float[Array, "batch samples *channels"], Int[Array, " batch"]]:
    """Each row faster or slower with that probability, pitch and all, by a log-uniform factor.

    A row holds more than is played. What is played lies in it as the row lies in its clip, so that
    all of a clip is played equally often.

    Returns:
      The audio, and how much of it there is before each clip ends.
    """
    lowest, highest = math.log(speed[0]), math.log(speed[1])
    choice_key, factor_key = jax.random.split(key)
    rows = audio.shape[:1]
    factor = jnp.exp(jax.random.uniform(factor_key, rows, minval=lowest, maxval=highest))
    factor = jnp.where(jax.random.bernoulli(choice_key, probability, rows), factor, 1.0)
    available = length.astype(audio.dtype)
    offset = jnp.floor(position * jnp.maximum(available - samples * factor, 0.0)).astype(jnp.int32)
    # A hair more, so that rounding takes no sample away.
    played = jnp.floor((available - offset.astype(audio.dtype)) / factor + 0.01)
    played = played.astype(length.dtype)
    # A row that has any samples keeps one: a length of 0 is a row that only fills the batch.
    played = jnp.clip(played, jnp.minimum(length, 1), samples)
    channels = jnp.moveaxis(audio.reshape(*audio.shape[:2], -1), 2, 1)
    shape = channels.shape[:2]
    changed = signal.play_at_speed(
        channels,
        jnp.broadcast_to(factor[:, None], shape),
        jnp.broadcast_to(offset[:, None], shape),
        length=samples,
    )
    return jnp.moveaxis(changed, 1, 2).reshape(-1, samples, *audio.shape[2:]), played
