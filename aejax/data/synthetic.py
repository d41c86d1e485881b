"""The built-in corpus: sounds of seven kinds, generated from a seed on access."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from aejax.data import audio_file
from aejax.data.corpus import Settings, split_units
from aejax.data.table import Clips, Column, Strings

SAMPLE_RATE = 16_000
_LOUDEST_DB, _SOFTEST_DB = -10.0, -30.0

Rng = np.random.Generator


def _times(samples: int) -> np.ndarray:
    return np.arange(samples) / SAMPLE_RATE


def _envelope(rng: Rng, samples: int) -> np.ndarray:
    """An envelope: an attack of 2 to 100 ms, then a decay to 1/e in 0.1 to 2 s."""
    attack, decay = _between(rng, 0.002, 0.1), _between(rng, 0.1, 2.0)
    t = _times(samples)
    return np.minimum(t / attack, 1) * np.exp(-np.maximum(t - attack, 0) / decay)


def _between(rng: Rng, low: float, high: float) -> float:
    """A log-uniform random number."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _partials(rng: Rng, hz: float, phase: np.ndarray) -> np.ndarray:
    """A sum of harmonics below Nyquist with decreasing amplitudes and one formant.

    Args:
      hz: the highest fundamental, which limits the number of harmonics.
      phase: of the fundamental, in radians ``[samples]``.
    """
    count = max(1, min(40, int(0.45 * SAMPLE_RATE / hz)))
    n = np.arange(1, count + 1)
    slope, formant, width = rng.uniform(0.5, 2.0), _between(rng, 300, 4000), rng.uniform(0.2, 0.8)
    amplitudes = n**-slope * (1 + 4 * np.exp(-((np.log(n * hz / formant) / width) ** 2)))
    if rng.uniform() < 0.3:
        amplitudes[1::2] *= 0.05  # weak even harmonics, as of a clarinet
    # sin(n a) = 2 cos(a) sin((n - 1) a) - sin((n - 2) a): no sine per harmonic.
    double_cosine = 2 * np.cos(phase)
    before, now = np.zeros_like(phase), np.sin(phase)
    total = amplitudes[0] * now
    for amplitude in amplitudes[1:]:
        before, now = now, double_cosine * now - before
        total += amplitude * now
    return total


def _tone(rng: Rng, hz: float, samples: int) -> np.ndarray:
    return _partials(rng, hz, 2 * np.pi * hz * _times(samples)) * _envelope(rng, samples)


def _vibrato(rng: Rng, hz: float, samples: int) -> np.ndarray:
    t = _times(samples)
    rate, depth = rng.uniform(4, 8), rng.uniform(0.005, 0.04)
    phase = 2 * np.pi * hz * t + hz * depth / rate * np.sin(2 * np.pi * rate * t)
    return _partials(rng, hz * (1 + depth), phase) * _envelope(rng, samples)


def _glide(rng: Rng, hz: float, samples: int) -> np.ndarray:
    end = hz * 2 ** rng.uniform(-1, 1)
    frequency = np.geomspace(hz, end, samples)
    phase = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    return _partials(rng, max(hz, end), phase) * _envelope(rng, samples)


def _chord(rng: Rng, hz: float, samples: int) -> np.ndarray:
    third, fifth = rng.choice([3, 4]), 7
    return np.sum(
        [_tone(rng, hz * 2 ** (step / 12), samples) for step in (0, third, fifth)], axis=0
    )


def _bell(rng: Rng, hz: float, samples: int) -> np.ndarray:
    """Two-operator frequency modulation: Chowning, JAES 21(7), 1973."""
    t = _times(samples)
    ratio, index, decay = (
        rng.choice([1.4, 2.0, 2.76, 3.5]),
        rng.uniform(1, 5),
        _between(rng, 0.2, 2),
    )
    fade = np.exp(-t / decay)
    modulation = index * fade * np.sin(2 * np.pi * hz * ratio * t)
    return np.sin(2 * np.pi * hz * t + modulation) * fade


def _pluck(rng: Rng, hz: float, samples: int) -> np.ndarray:
    """A plucked string by periods: Karplus and Strong, Computer Music Journal 7(2), 1983."""
    period = max(2, round(SAMPLE_RATE / hz - 0.5))
    loss = 0.5 * rng.uniform(0.97, 0.999)
    string = rng.uniform(-1, 1, period)
    periods = [string]
    for _ in range(samples // period):
        string = loss * (string + np.roll(string, 1))
        periods.append(string)
    return np.concatenate(periods)[:samples]


def _drum(rng: Rng, hz: float, samples: int) -> np.ndarray:
    """Decaying noise with a resonance at ``hz``, plus a tone of falling pitch."""
    t = _times(samples)
    frequency = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    width = rng.uniform(0.3, 1.5)
    shape = np.exp(-((np.log2(np.maximum(frequency, 1) / hz) / width) ** 2))
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * shape, samples)
    noise *= np.exp(-t / _between(rng, 0.03, 0.4)) / np.abs(noise).max()
    fall = 1 + rng.uniform(0, 3) * np.exp(-t / 0.03)
    tone = np.sin(2 * np.pi * np.cumsum(hz / 2 * fall) / SAMPLE_RATE)
    return noise + rng.uniform(0, 1) * tone * np.exp(-t / _between(rng, 0.05, 0.3))


FAMILIES: dict[str, Callable[[Rng, float, int], np.ndarray]] = {
    "tone": _tone,
    "vibrato": _vibrato,
    "glide": _glide,
    "chord": _chord,
    "bell": _bell,
    "pluck": _pluck,
    "drum": _drum,
}


class SyntheticCorpus:
    """A corpus of generated sounds; clip k depends only on the seed and k.

    Args:
      clips: number of clips.
      seconds: duration of each.
      seed: of the sounds.
      settings: how to read them. The split is by clip; all channels are equal.
    """

    scanned: None = None

    def __init__(self, *, clips: int, seconds: float, seed: int, settings: Settings):
        self.title = f"built-in ({', '.join(FAMILIES)}; seed {seed})"
        self.skipped: dict[str, str] = {}
        self.warnings: tuple[str, ...] = ()
        self.split_by = "file"
        self.sample_rate = settings.sample_rate
        self.channel_shape = settings.channel_shape
        self._seed = seed
        names = [f"synthetic/{index:06d}" for index in range(clips)]
        frames = np.full(clips, round(seconds * SAMPLE_RATE))
        recipes = [_recipe(seed, index) for index in range(clips)]
        self.clips = Clips(
            files=Strings.of(names),
            frames=frames,
            sample_rate=np.full(clips, SAMPLE_RATE),
            channels=np.ones(clips, np.int32),
            channel=np.full(clips, -1),
            samples=audio_file.resampled_length(frames, SAMPLE_RATE, self.sample_rate),
            split=split_units(
                names, settings.validation_fraction, settings.test_fraction, settings.split_seed
            ),
            labels={
                "family": Column.of([recipe.family for recipe in recipes]),
                "pitch": Column(None, np.asarray([recipe.pitch for recipe in recipes])),
                "loudness": Column(None, np.asarray([recipe.loudness for recipe in recipes])),
            },
        )
        # Clips that do not fit in the cache are rendered on each access.
        self._cache_size = max(1, int(settings.cache_bytes / (4 * seconds * SAMPLE_RATE)))
        self._audio = functools.lru_cache(maxsize=self._cache_size)(self._make)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_audio"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._audio = functools.lru_cache(maxsize=self._cache_size)(self._make)

    def _make(self, index: int, samples: int) -> np.ndarray:
        return _render(self._seed, index, samples)

    def read(self, clip: int, start: int, length: int) -> np.ndarray:
        """See `aejax.data.corpus.Corpus.read`."""
        audio = self._audio(clip, int(self.clips.frames[clip]))
        excerpt = audio_file.resampled_excerpt(
            lambda first, count: audio[first : first + count],
            len(audio),
            SAMPLE_RATE,
            start,
            length,
            self.sample_rate,
        )
        return np.stack([excerpt] * 2, axis=1) if self.channel_shape else excerpt


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """A clip's labels: its family, fundamental (Hz) and peak level (dB re full scale)."""

    family: str
    pitch: float
    loudness: float


def _recipe(seed: int, index: int) -> _Recipe:
    rng = np.random.default_rng([seed, index, 0])
    family = list(FAMILIES)[index % len(FAMILIES)]
    pitch = 440 * 2 ** ((int(rng.integers(36, 85)) - 69) / 12)
    return _Recipe(family, round(pitch, 3), round(rng.uniform(_SOFTEST_DB, _LOUDEST_DB), 3))


def _render(seed: int, index: int, samples: int) -> np.ndarray:
    recipe, rng = _recipe(seed, index), np.random.default_rng([seed, index, 1])
    onset = int(rng.uniform(0, 0.1) * samples)
    sound = FAMILIES[recipe.family](rng, recipe.pitch, samples - onset)
    sound = sound * (10 ** (recipe.loudness / 20) / np.abs(sound).max())
    ramp = min(80, len(sound))  # 5 ms, to avoid a click at the end
    sound[-ramp:] *= np.linspace(1, 0, ramp)
    return np.concatenate([np.zeros(onset), sound]).astype(np.float32)
