"""Log-mel spectrogram."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from aejax import parts, signal
from aejax.parts import at_least, key, representations
from aejax.representations.base import LevelRepresentation, Limits
from aejax.runtime.errors import UserError

_MOST_WEIGHTS = 2**26  # of a filter bank


@representations.register("mel")
@dataclasses.dataclass(frozen=True)
class MelSpectrogram(LevelRepresentation):
    """Log-mel power in dB; synthesis estimates a linear spectrum, then phases (Griffin-Lim).

    Mel power is scaled as in librosa: a full-scale sine of 1 kHz reaches about +30 dB at ``n_fft``
    1024 and 16 kHz.

    Attributes:
      n_mels: bins.
      fmin, fmax: Hz; an ``fmax`` of 0 is half the sample rate.
    """

    n_mels: int = key(80, at_least(1, 2**13), "bands")
    fmin: float = key(0.0, at_least(0), "Hz; lower end of the lowest band")
    fmax: float = key(0.0, at_least(0), "Hz; upper end of the highest band; 0 is half the rate")
    bins_keys = "n_mels"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "fmax", self.fmax or self.sample_rate / 2)

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Bands below half the sample rate, and a filter bank of limited size."""
        super().check(config)
        own, nyquist = config.representation.mel, config.data.sample_rate / 2
        if own.fmax > nyquist:
            raise UserError(
                f"config.representation.mel.fmax={own.fmax:g} is above {nyquist:g} Hz, half of"
                f" data.sample_rate={config.data.sample_rate}; lower it, or set 0 for half the rate"
            )
        if own.fmin >= (own.fmax or nyquist):
            raise UserError(
                f"config.representation.mel.fmin={own.fmin:g} must be below fmax"
                f" ({own.fmax or nyquist:g} Hz)"
            )
        parts.at_most(
            own.n_mels * (own.n_fft // 2 + 1),
            _MOST_WEIGHTS,
            "representation.mel.n_mels x (representation.mel.n_fft / 2 + 1)",
        )

    @property
    def bins(self) -> int:
        """Features in one frame."""
        return self.n_mels

    def limits(self) -> Limits:
        """From the floor to the highest possible power of a band: the lower of two bounds, all its
        bins at the highest magnitude, or all energy of a frame in the bin of largest weight."""
        filters = signal.mel_filterbank(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            n_mels=self.n_mels,
            fmin=self.fmin,
            fmax=self.fmax,
        )
        filters = filters.astype(np.float64)
        # Parseval's theorem, over bins of positive and negative frequency.
        energy = self.n_fft * float(np.square(self._window()).sum())
        highest = np.minimum(
            filters.sum(0) * self._highest_magnitude() ** 2, filters.max(0) * energy
        )
        floor = 10 ** (self.floor_db / 10)
        return self._limits(10 * np.log10(np.maximum(highest, floor)))

    def analyse(self, audio: Float[Array, "*batch samples"]) -> Float[Array, "*batch frames bins"]:
        """Audio to log-mel power in dB, never below ``floor_db``."""
        mel = signal.mel_spectrogram(
            audio,
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            win_length=self.win_length,
            hop_length=self.hop_length,
            n_mels=self.n_mels,
            fmin=self.fmin,
            fmax=self.fmax,
        )
        return signal.power_to_db(mel, floor=10 ** (self.floor_db / 10))

    def synthesise(
        self, features: Float[Array, "*batch frames bins"]
    ) -> Float[Array, "*batch samples"]:
        """Log-mel power in dB to audio; levels at the floor become silence."""
        linear = signal.mel_to_linear(
            signal.db_to_power(features),
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            fmin=self.fmin,
            fmax=self.fmax,
            # KL rather than least squares: it fits quiet bands better, in dB.
            method="kl",
        )
        return self._from_power(linear)

    def _gain(self, noisy: Array, features: Array) -> Array:
        gain_db = jnp.matmul(features - noisy, self._interpolation(), precision="highest")
        return self._attenuation(gain_db)

    def _interpolation(self) -> np.ndarray:
        """Weights ``[n_mels, bins]`` of linear interpolation over Hz between band centres."""
        lowest, highest = (float(signal.hz_to_mel(hz)) for hz in (self.fmin, self.fmax))
        mels = np.linspace(lowest, highest, self.n_mels + 2)
        centres = np.asarray(signal.mel_to_hz(mels))[1:-1]
        bins = np.fft.rfftfreq(self.n_fft, 1 / self.sample_rate)
        rows = [np.interp(bins, centres, band) for band in np.eye(self.n_mels)]
        return np.asarray(rows, np.float32)


EVAL_MEL_FLOOR_DB = -60.0


def eval_mel(sample_rate: int) -> MelSpectrogram:
    """The reference mel, for the audio metric: 80 bands, windows of 64 ms or more (the next power
    of 2 in samples, at least 128), a hop of a quarter window."""
    n_fft = max(2 ** math.ceil(math.log2(0.064 * sample_rate)), 128)
    return MelSpectrogram(
        sample_rate=sample_rate,
        n_fft=n_fft,
        win_length=n_fft,
        hop_length=n_fft // 4,
        n_mels=80,
        fmin=0.0,
        fmax=sample_rate / 2,
        floor_db=EVAL_MEL_FLOOR_DB,
        griffin_lim_iterations=32,
    )
