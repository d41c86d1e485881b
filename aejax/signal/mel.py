"""The mel scale, its filterbank, and the way back from mel to linear frequency."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aejax.signal.stft import PadMode, power, stft

# In full float32: accelerators would round the factors to 8 or 11 bits, which dB bring to light.
matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

# Slaney's scale (Auditory Toolbox, 1998) is linear below 1 kHz and logarithmic above.
_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Frequency in Hz to mel on Slaney's scale, as ``librosa.hz_to_mel``."""
    hz = np.asarray(hz, np.float64)
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, above)


def mel_to_hz(mel: np.ndarray | float) -> np.ndarray:
    """Mel on Slaney's scale to frequency in Hz, as ``librosa.mel_to_hz``."""
    mel = np.asarray(mel, np.float64)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)


@functools.lru_cache(maxsize=16)
def mel_filterbank(
    *, sample_rate: int, n_fft: int, n_mels: int, fmin: float = 0.0, fmax: float | None = None
) -> np.ndarray:
    """Triangular filters, evenly spaced in mel, each with unit area in Hz (Slaney's norm).

    A constant of the compiled program, so it is made on the host in float64. Agrees with
    ``librosa.filters.mel(...).T``.

    Args:
      sample_rate: Hz.
      n_fft: samples.
      n_mels: filters.
      fmin, fmax: lower and upper end in Hz; ``fmax`` is ``sample_rate / 2`` by default.

    Returns:
      float32 ``[n_fft // 2 + 1, n_mels]``, read-only.

    Raises:
      ValueError: ``fmax`` is above Nyquist or not above ``fmin``, or a filter falls between two
        bins and would be empty; the message names the smallest ``n_fft`` (a power of two) that
        fills all of them.
    """
    fmax = sample_rate / 2 if fmax is None else fmax
    if not 0 <= fmin < fmax <= sample_rate / 2:
        raise ValueError(
            f"need 0 <= fmin < fmax <= {sample_rate / 2:g} Hz (half of sample_rate={sample_rate}),"
            f" got fmin={fmin:g}, fmax={fmax:g}"
        )
    edges = mel_to_hz(np.linspace(hz_to_mel(fmin), hz_to_mel(fmax), n_mels + 2))
    if _some_are_empty(edges, sample_rate / n_fft):
        enough = 2 ** int(np.ceil(np.log2(n_fft + 1)))
        while _some_are_empty(edges, sample_rate / enough):
            enough *= 2
        raise ValueError(
            f"n_mels={n_mels} is more than n_fft={n_fft} resolves between {fmin:g} and {fmax:g} Hz:"
            f" some filters would be empty; use n_fft={enough} or fewer mels"
        )
    weights = _triangles(edges, np.arange(n_fft // 2 + 1) * sample_rate / n_fft)
    result = weights.astype(np.float32)
    result.setflags(write=False)
    return result


def _some_are_empty(edges: np.ndarray, bin_width: float) -> bool:
    """Whether a triangle over these edges (Hz) has no bin strictly inside."""
    first_inside = np.floor(edges[:-2] / bin_width) + 1
    return bool((first_inside * bin_width >= edges[2:]).any())


def _triangles(edges: np.ndarray, bins: np.ndarray) -> np.ndarray:
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - lower) / (centre - lower)
    falling = (upper - bins[:, None]) / (upper - centre)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (upper - lower)


def mel_spectrogram(
    x: Float[Array, "*batch samples"],
    *,
    sample_rate: int,
    n_fft: int = 2048,
    hop_length: int | None = None,
    n_mels: int = 128,
    win_length: int | None = None,
    window: str = "hann",
    center: bool = True,
    pad_mode: PadMode = "reflect",
    fmin: float = 0.0,
    fmax: float | None = None,
) -> Float[Array, "*batch frames n_mels"]:
    """Mel power spectrogram, as ``librosa.feature.melspectrogram`` with time before frequency.

    Arguments as in `stft` and `mel_filterbank`; raises what they raise.
    """
    s = stft(
        x,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        window=window,
        center=center,
        pad_mode=pad_mode,
    )
    filters = mel_filterbank(
        sample_rate=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax
    )
    return matmul(power(s), jnp.asarray(filters))


def mel_to_linear(
    mel: Float[Array, "*batch frames n_mels"],
    filters: Float[np.ndarray, "bins n_mels"],
    *,
    num_iterations: int = 50,
) -> Float[Array, "*batch frames bins"]:
    """A non-negative power spectrum whose mel spectrum is (nearly) the one given.

    Multiplicative updates that lower the generalised Kullback-Leibler divergence of the mel
    spectra. It weighs errors in proportion to the level, so quiet bands come out right too, which
    they do not under least squares. Bins that no filter covers come out as zero.

    Source: Lee and Seung, "Algorithms for non-negative matrix factorization", NIPS 2000,
    theorem 2, with the dictionary held fixed.

    Args:
      mel: mel power, non-negative.
      filters: from `mel_filterbank`.
      num_iterations: updates.
    """
    total = filters.sum(axis=1)
    covered = total > 0
    back = (filters / np.where(covered, total, 1)[:, None]).T
    tiny = jnp.finfo(jnp.float32).tiny

    def update(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return x * matmul(mel / jnp.maximum(matmul(x, filters), tiny), back), None

    start = matmul(mel / filters.sum(axis=0)[(None,) * (mel.ndim - 1)], back)
    return jax.lax.scan(update, start, length=num_iterations)[0]
