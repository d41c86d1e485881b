"""Raw samples."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax.parts import at_least, key, representations
from aejax.representations.base import Limits, Representation, symmetric


@representations.register("waveform")
@dataclasses.dataclass(frozen=True)
class Waveform(Representation):
    """Raw samples in frames without overlap.

    Attributes:
      sample_rate: Hz.
      hop_length: samples in a frame, and number of bins.
    """

    sample_rate: int
    hop_length: int = key(256, at_least(1, 2**19), "samples per frame")
    bins_keys = "hop_length"

    @property
    def bins(self) -> int:
        """Features in one frame."""
        return self.hop_length

    def limits(self) -> Limits:
        """Full scale."""
        return symmetric(1.0, self.bins)

    def analyse(self, audio: Float[Array, "*batch samples"]) -> Float[Array, "*batch frames bins"]:
        """Audio in frames, padded with zeros to whole frames."""
        frames = self.frames(audio.shape[-1])
        missing = frames * self.hop_length - audio.shape[-1]
        padded = jnp.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(0, missing)])
        return padded.reshape(*audio.shape[:-1], frames, self.hop_length)

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Concatenated frames."""
        return features.reshape(*features.shape[:-2], -1)
