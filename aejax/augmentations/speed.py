"""Random playback speed."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array
from ml_collections import ConfigDict

from aejax import parts, signal
from aejax.augmentations.base import Augmentation, Example
from aejax.parts import augmentations, fraction, key, pair


@augmentations.register("speed")
@dataclasses.dataclass(frozen=True)
class Speed(Augmentation):
    """Faster or slower playback, which shifts the pitch too, by a log-uniform factor.

    Attributes:
      samples: samples of an output excerpt.
    """

    samples: int
    range: tuple[float, float] = key(
        (0.6, 1.6), pair(0.25, 4), "lowest and highest factor; (1.0, 1.0) is off"
    )
    probability: float = key(0.75, fraction, "probability of playing an excerpt at another speed")
    also_noise = True

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Checks that a probability is set only with a range."""
        is_on = tuple(config.augment.speed.range) != (1.0, 1.0)
        parts.needs(cls, config, "augment.speed.probability", "augment.speed.range", is_on)

    @property
    def is_on(self) -> bool:
        """Whether there are speeds other than 1."""
        return self.range != (1.0, 1.0)

    def span(self, samples: int) -> int:
        """Samples to read for ``samples`` at the highest speed."""
        return math.ceil(samples * max(1.0, self.range[1]))

    def __call__(self, key: jax.Array, example: Example) -> Example:
        """The example at another speed in random rows, `samples` long.

        Playback starts at an offset proportional to the excerpt's position in its clip, so that all
        parts of a clip are used equally often.
        """
        audio, length, samples = example.target, example.length, self.samples
        lowest, highest = math.log(self.range[0]), math.log(self.range[1])
        choice_key, factor_key = jax.random.split(key)
        rows = audio.shape[:1]
        factor = jnp.exp(jax.random.uniform(factor_key, rows, minval=lowest, maxval=highest))
        factor = jnp.where(jax.random.bernoulli(choice_key, self.probability, rows), factor, 1.0)
        available = length.astype(audio.dtype)
        spare = jnp.maximum(available - samples * factor, 0.0)
        offset = jnp.floor(example.position * spare).astype(jnp.int32)
        # 0.01 protects from rounding errors.
        played = jnp.floor((available - offset.astype(audio.dtype)) / factor + 0.01)
        # At least one sample: a length of 0 marks padding rows.
        played = jnp.clip(played.astype(length.dtype), jnp.minimum(length, 1), samples)
        return example.with_target(self._play(audio, factor, offset))._replace(length=played)

    def _play(self, audio: Array, speed: Array, offset: Array) -> Array:
        """Audio ``[batch, samples, *channels]`` with each row at its speed."""
        channels = jnp.moveaxis(audio.reshape(*audio.shape[:2], -1), 2, 1)
        shape = channels.shape[:2]
        changed = signal.play_at_speed(
            channels,
            jnp.broadcast_to(speed[:, None], shape),
            jnp.broadcast_to(offset[:, None], shape),
            length=self.samples,
            max_speed=max(1.0, self.range[1]),
        )
        return jnp.moveaxis(changed, 1, 2).reshape(-1, self.samples, *audio.shape[2:])
