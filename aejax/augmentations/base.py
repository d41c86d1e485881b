"""What an augmentation is, and the chain of them."""

import dataclasses
import zlib
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aejax import signal

Audio = Float[Array, "batch samples *channels"]


class Example(NamedTuple):
    """Excerpts on their way through the chain.

    Attributes:
      input: audio that the encoder takes.
      target: audio that is to be given back: the same, or that without its noise.
      length: samples of each row before its clip ends.
      position: of each excerpt in its clip, 0 to 1.
      noise: recorded noise, where there is any.
    """

    input: Float[Array, "batch samples *channels"]
    target: Float[Array, "batch samples *channels"]
    length: Int[Array, " batch"]
    position: Float[Array, " batch"]
    noise: Float[Array, "batch span *channels"] | None = None

    def with_target(self, audio: Audio) -> "Example":
        """The same with other audio, as input too."""
        return self._replace(input=audio, target=audio)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """A random change of training excerpts.

    One that changes audio, input and target alike, has a method `change`; one that changes the
    encoder's input features alone, `change_features`. What needs more overrides ``__call__``.

    Attributes:
      also_noise: whether recorded noise is changed by it, too, by draws of its own.
      separates: whether input and target differ behind it.
    """

    also_noise: ClassVar[bool] = False
    separates: ClassVar[bool] = False

    @property
    def is_on(self) -> bool:
        """Whether its keys are such that anything changes."""
        return True

    def span(self, samples: int) -> int:
        """Samples that it takes to give so many."""
        return samples

    def change(self, key: jax.Array, audio: Audio, length: Int[Array, " batch"]) -> Audio:
        """Audio, changed; ``length`` is how many samples of each row there are before its end."""
        del key, length
        return audio

    def change_features(
        self,
        key: jax.Array,
        features: Float[Array, "batch frames bins"],
        fill: Float[Array, " bins"],
        channels: int,
    ) -> Float[Array, "batch frames bins"]:
        """The encoder's input, changed; where bins are those of several ``channels`` side by side,
        all channels alike.

        Args:
          key: random.
          features: in their own unit.
          fill: the mean of each bin.
          channels: how many.
        """
        del key, fill, channels
        return features

    def __call__(self, key: jax.Array, example: Example) -> Example:
        """An example, changed."""
        if example.input is example.target:
            return example.with_target(self.change(key, example.target, example.length))
        both = jnp.stack([example.input, example.target])
        # One draw for both: what is the same for all of a `vmap` is done once.
        both = jax.vmap(lambda audio: self.change(key, audio, example.length))(both)
        return example._replace(input=both[0], target=both[1])


@dataclasses.dataclass(frozen=True)
class Chain:
    """Augmentations, one after the other; each draws from a key of its own, so that one that is off
    changes no other.

    Attributes:
      parts: those that are on, by name.
      task: "reconstruct" or "denoise".
    """

    parts: tuple[tuple[str, Augmentation], ...]
    task: str = "reconstruct"

    @property
    def separates(self) -> bool:
        """Whether the input is other audio than the target."""
        return self.task == "denoise" or any(part.separates for _, part in self.parts)

    def span(self, samples: int) -> int:
        """Samples that have to be read for so many to come out."""
        for _, part in reversed(self.parts):
            samples = part.span(samples)
        return samples

    def __call__(self, key: jax.Array, example: Example, samples: int) -> Example:
        """Examples of ``span(samples)`` samples to such of ``samples``; behind the end of its clip
        each row is silent."""
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
        """The encoder's input features; see `Augmentation.change_features`."""
        for name, part in self.parts:
            features = part.change_features(_key_of(key, name), features, fill, channels)
        return features


def _key_of(key: jax.Array, name: str) -> jax.Array:
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def of_rows(values: Float[Array, " batch"], audio: Array) -> Array:
    """One value a row, so that it goes with the audio."""
    return values.reshape(-1, *[1] * (audio.ndim - 1))
