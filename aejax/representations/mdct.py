"""The modified discrete cosine transform."""

import dataclasses
import math

import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from aejax import signal
from aejax.parts import above, at_least, key, representations
from aejax.representations.base import Count, Limits, Representation, radial, symmetric
from aejax.runtime.errors import UserError


@representations.register("mdct")
@dataclasses.dataclass(frozen=True)
class MDCT(Representation):
    """Modified discrete cosine transform: real, critically sampled, exactly invertible.

    Attributes:
      sample_rate: Hz.
      hop_length: samples, and number of bins; the window is twice as long. Even.
      compression: power that magnitudes are raised to; 1 for none.
    """

    sample_rate: int
    hop_length: int = key(
        256, at_least(1, 2**19), "samples from one frame to the next, half a window; even"
    )
    compression: float = key(0.5, above(0, 100), "power that magnitudes are raised to; 1 for none")
    fewest_frames = 2
    receptive_field = synthesis_context = 1
    bins_keys = "hop_length"

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """An even hop."""
        hop_length = config.representation.mdct.hop_length
        if hop_length % 2:
            raise UserError(f"config.representation.mdct.hop_length={hop_length} must be even")

    @property
    def bins(self) -> int:
        """Features in one frame."""
        return self.hop_length

    def limits(self) -> Limits:
        """The highest magnitude of a bin, compressed."""
        window = signal.window("sine", 2 * self.hop_length).astype(np.float64)
        highest = math.sqrt(2 / self.hop_length) * float(window.sum())
        return symmetric(highest**self.compression, self.bins)

    def samples(self, frames: int) -> int:
        """Number of samples of an excerpt of ``frames``."""
        return (frames - 1) * self.hop_length

    def frames(self, samples: Count) -> Count:
        """Number of frames of ``samples``."""
        return -(-samples // self.hop_length) + 1

    def analyse(self, audio: Float[Array, "*batch samples"]) -> Float[Array, "*batch frames bins"]:
        """Audio to compressed coefficients."""
        return self._powered(signal.mdct(audio, win_length=2 * self.hop_length), self.compression)

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Features to audio."""
        return signal.imdct(self._powered(features, 1 / self.compression))

    def _powered(self, x: Array, power: float) -> Array:
        return x * radial(x[None], power)[0]
