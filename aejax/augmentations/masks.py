"""Stretches of time and of frequency that the encoder does not get to see.

Source: Park et al., "SpecAugment", Interspeech 2019, without the time warping.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from aejax import parts
from aejax.augmentations.base import Augmentation
from aejax.parts import at_least, augmentations, between, key


@augmentations.register("time_masks")
@dataclasses.dataclass(frozen=True)
class TimeMasks(Augmentation):
    """Stretches of frames hidden from the encoder, which are to be given back all the same."""

    count: int = key(0, between(0, 100), "stretches; 0 is off")
    frames: int = key(8, at_least(1), "of the longest")

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Stretches that there is a longest of."""
        count = config.augment.time_masks.count
        parts.needs(cls, config, "augment.time_masks.frames", "augment.time_masks.count", count > 0)

    @property
    def is_on(self) -> bool:
        """Whether there are any."""
        return self.count > 0

    def change_features(
        self,
        key: jax.Array,
        features: Float[Array, "batch frames bins"],
        fill: Float[Array, " bins"],
        channels: int,
    ) -> Float[Array, "batch frames bins"]:
        """Features with stretches of frames at their mean."""
        del channels
        hidden = _stretches(key, features, self.count, self.frames, features.shape[1])
        return jnp.where(hidden[:, :, None], fill[None, None], features)


@augmentations.register("frequency_masks")
@dataclasses.dataclass(frozen=True)
class FrequencyMasks(Augmentation):
    """Bands hidden from the encoder, which are to be given back all the same."""

    count: int = key(0, between(0, 100), "bands; 0 is off")
    bins: int = key(8, at_least(1), "of the widest")

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Bands that there is a widest of."""
        count = config.augment.frequency_masks.count
        parts.needs(
            cls, config, "augment.frequency_masks.bins", "augment.frequency_masks.count", count > 0
        )

    @property
    def is_on(self) -> bool:
        """Whether there are any."""
        return self.count > 0

    def change_features(
        self,
        key: jax.Array,
        features: Float[Array, "batch frames bins"],
        fill: Float[Array, " bins"],
        channels: int,
    ) -> Float[Array, "batch frames bins"]:
        """Features with bands at their mean."""
        bins = features.shape[2] // channels
        bands = _stretches(key, features, self.count, self.bins, bins)
        return jnp.where(jnp.tile(bands, (1, channels))[:, None, :], fill[None, None], features)


def _stretches(key: jax.Array, features: Array, count: int, longest: int, size: int) -> Array:
    """Which of ``size`` places lie in one of ``count`` random stretches, bool ``[batch, size]``."""
    width_key, start_key = jax.random.split(key)
    shape = (features.shape[0], count, 1)
    width = jax.random.randint(width_key, shape, 0, min(longest, size) + 1)
    start = jax.random.randint(start_key, shape, 0, size - width + 1)
    place = jnp.arange(size)[None, None]
    return ((place >= start) & (place < start + width)).any(axis=1)
