"""Log-magnitude STFT."""

import dataclasses
import math

import numpy as np
from jaxtyping import Array, Float

from aejax import signal
from aejax.parts import representations
from aejax.representations.base import LevelRepresentation, Limits


@representations.register("spectrogram")
@dataclasses.dataclass(frozen=True)
class Spectrogram(LevelRepresentation):
    """Log-magnitude STFT in dB; synthesis estimates phases (Griffin-Lim)."""

    bins_keys = "n_fft / 2 + 1"

    @property
    def bins(self) -> int:
        """Features in one frame."""
        return self.n_fft // 2 + 1

    def limits(self) -> Limits:
        """From the floor to the highest possible level of a bin."""
        highest = 20 * math.log10(self._highest_magnitude())
        return self._limits(np.full(self.bins, highest))

    def analyse(self, audio: Float[Array, "*batch samples"]) -> Float[Array, "*batch frames bins"]:
        """Audio to log-magnitude in dB, never below ``floor_db``."""
        power = signal.spectrogram(
            audio, n_fft=self.n_fft, win_length=self.win_length, hop_length=self.hop_length
        )
        return signal.power_to_db(power, floor=10 ** (self.floor_db / 10))

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Log-magnitude in dB to audio; levels at the floor become silence."""
        return self._from_power(signal.db_to_power(features))

    def _gain(self, noisy: Array, features: Array) -> Array:
        return self._attenuation(features - noisy)
