"""Time and frequency masks of the encoder's input.

Source: Park et al., "SpecAugment", Interspeech 2019, without the time warping.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from aejax import parts
from aejax.augmentations.base import Augmentation
from aejax.parts import at_least, augmentations, between, key


@dataclasses.dataclass(frozen=True)
class Masks(Augmentation):
    """Base class: masked input features, replaced by their mean.

    Attributes:
      size: name of the key with the largest size of a mask.
    """

    size: ClassVar[str]
    count: int = key(0, between(0, 100), "masks for each excerpt; 0 is off")

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Checks that a size is set only with masks."""
        name = f"augment.{cls.part_name}"
        count = parts.value(config, f"{name}.count")
        parts.needs(cls, config, f"{name}.{cls.size}", f"{name}.count", count > 0)

    @property
    def is_on(self) -> bool:
        """Whether there are masks."""
        return self.count > 0

    def change_features(
        self,
        key: jax.Array,
        features: Float[Array, "batch frames bins"],
        fill: Float[Array, " bins"],
        channels: int,
    ) -> Float[Array, "batch frames bins"]:
        """Features with their mean where they are masked."""
        return jnp.where(self.mask(key, features, channels), fill[None, None], features)

    def mask(
        self, key: jax.Array, features: Float[Array, "batch frames bins"], channels: int
    ) -> Bool[Array, "batch ..."]:
        """Mask, True where features are masked; broadcasts against features."""
        raise NotImplementedError


@augmentations.register("time_masks")
@dataclasses.dataclass(frozen=True)
class TimeMasks(Masks):
    """Time masks of the encoder's input; the target is not masked."""

    size = "frames"
    frames: int = key(8, at_least(1), "frames of the longest mask")

    def mask(
        self, key: jax.Array, features: Float[Array, "batch frames bins"], channels: int
    ) -> Bool[Array, "batch frames 1"]:
        """Whether each frame is masked."""
        del channels
        rows, frames, _ = features.shape
        return _random_runs(key, rows, self.count, self.frames, frames)[:, :, None]


@augmentations.register("frequency_masks")
@dataclasses.dataclass(frozen=True)
class FrequencyMasks(Masks):
    """Frequency masks of the encoder's input; the target is not masked."""

    size = "bins"
    bins: int = key(8, at_least(1), "bins of the widest mask")

    def mask(
        self, key: jax.Array, features: Float[Array, "batch frames bins"], channels: int
    ) -> Bool[Array, "batch 1 bins"]:
        """Whether each bin is masked; the same in all channels."""
        rows, _, bins = features.shape
        bands = _random_runs(key, rows, self.count, self.bins, bins // channels)
        return jnp.tile(bands, (1, channels))[:, None, :]


def _random_runs(
    key: jax.Array, rows: int, count: int, longest: int, size: int
) -> Bool[Array, "rows size"]:
    """Mask of ``count`` random runs of up to ``longest`` indices, for each row."""
    width_key, start_key = jax.random.split(key)
    shape = (rows, count, 1)
    width = jax.random.randint(width_key, shape, 0, min(longest, size) + 1)
    start = jax.random.randint(start_key, shape, 0, size - width + 1)
    index = jnp.arange(size)[None, None]
    return ((index >= start) & (index < start + width)).any(axis=1)
