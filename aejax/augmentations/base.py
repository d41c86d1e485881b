"""Base class of augmentations, and their chain."""

import dataclasses
import zlib
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aejax import signal

Audio = Float[Array, "batch samples *channels"]


class Example(NamedTuple):
    """A batch of excerpts.

    Attributes:
      input: audio for the encoder.
      target: audio to reconstruct: the same array, or the input without its noise.
      length: samples of each row before its clip ends.
      position: of each excerpt in its clip, 0 to 1.
      noise: recorded noise, or None.
    """

    input: Float[Array, "batch samples *channels"]
    target: Float[Array, "batch samples *channels"]
    length: Int[Array, " batch"]
    position: Float[Array, " batch"]
    noise: Float[Array, "batch span *channels"] | None = None

    def with_target(self, audio: Audio) -> "Example":
        """A copy with this audio as target and input."""
        return self._replace(input=audio, target=audio)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """A random change of training excerpts.

    Subclasses override `change` for input and target alike, `change_features` for the encoder's
    input features alone, or ``__call__`` for anything else.

    Attributes:
      also_noise: whether it also changes recorded noise, with separate draws.
      separates: whether it makes input and target differ.
    """

    part_name: ClassVar[str]  # set by `register`
    also_noise: ClassVar[bool] = False
    separates: ClassVar[bool] = False

    @property
    def is_on(self) -> bool:
        """Whether it changes anything, by its keys."""
        return True

    def span(self, samples: int) -> int:
        """Input samples for ``samples`` of output."""
        return samples

    def change(self, key: jax.Array, audio: Audio, length: Int[Array, " batch"]) -> Audio:
        """Changed audio; ``length`` is the number of samples of each row before its clip ends."""
        del key, length
        return audio

    def change_features(
        self,
        key: jax.Array,
        features: Float[Array, "batch frames bins"],
        fill: Float[Array, " bins"],
        channels: int,
    ) -> Float[Array, "batch frames bins"]:
        """Changed features for the encoder, the same change in all channels.

        Args:
          key: random key.
          features: not standardised; the bins of the first channel, then of the second.
          fill: the mean of each bin.
          channels: number of channels.
        """
        del key, fill, channels
        return features

    def __call__(self, key: jax.Array, example: Example) -> Example:
        """The changed example."""
        if example.input is example.target:
            return example.with_target(self.change(key, example.target, example.length))
        both = jnp.stack([example.input, example.target])
        # Input and target share the key, so they change alike.
        both = jax.vmap(lambda audio: self.change(key, audio, example.length))(both)
        return example._replace(input=both[0], target=both[1])


@dataclasses.dataclass(frozen=True)
class Chain:
    """Augmentations in order, each with a separate key, so that their draws are independent.

    Attributes:
      parts: augmentations that are on, with their names.
      task: "reconstruct" or "denoise".
    """

    parts: tuple[tuple[str, Augmentation], ...]
    task: str = "reconstruct"

    @property
    def separates(self) -> bool:
        """Whether input and target differ."""
        return self.task == "denoise" or any(part.separates for _, part in self.parts)

    def span(self, samples: int) -> int:
        """Input samples for ``samples`` of output."""
        for _, part in reversed(self.parts):
            samples = part.span(samples)
        return samples

    def __call__(self, key: jax.Array, example: Example, samples: int) -> Example:
        """Augmented examples of ``samples``, from ``span(samples)``; silent after their clips."""
        if self.span(samples) == samples:
            length = jnp.minimum(example.length, samples)
            example = example.with_target(example.target[:, :samples])._replace(length=length)
        for name, part in self.parts:
            example = part(_key_of(key, name), example)
        target = signal.until_end(example.target, example.length)
        if example.input is example.target:
            return example.with_target(target)
        return example._replace(
            input=signal.until_end(example.input, example.length), target=target
        )

    def change_features(
        self,
        key: jax.Array,
        features: Float[Array, "batch frames bins"],
        fill: Float[Array, " bins"],
        channels: int = 1,
    ) -> Float[Array, "batch frames bins"]:
        """Changed features for the encoder, see `Augmentation.change_features`."""
        for name, part in self.parts:
            features = part.change_features(_key_of(key, name), features, fill, channels)
        return features


def _key_of(key: jax.Array, name: str) -> jax.Array:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def of_rows(values: Float[Array, " batch"], audio: Array) -> Array:
    """One value per row, reshaped to broadcast against audio."""
    return values.reshape(-1, *[1] * (audio.ndim - 1))
