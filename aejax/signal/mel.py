"""The mel scale, mel filterbanks, mel spectrograms and MFCCs."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aejax.signal.arguments import (
    MOST_SAMPLES,
    check_choice,
    check_integer,
    check_level,
    check_real,
    compiled,
)
from aejax.signal.products import matmul
from aejax.signal.scale import power_to_db
from aejax.signal.stft import PadMode, detector, stft_then
from aejax.signal.windows import Window

Scale = Literal["slaney", "htk"]

# Slaney's scale (Auditory Toolbox, 1998) is linear below 1 kHz and logarithmic above.
_HZ_PER_MEL = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = float(np.log(6.4)) / 27
# O'Shaughnessy's scale, used by HTK: 2595 log10(1 + f / 700).
_HTK_FACTOR = 2595.0
_HTK_HZ = 700.0

# Filters in one matrix product.
GROUP = 16
# Numbers in a filterbank, twice: 512 MB in float64.
MOST_WEIGHTS = 2**27
# Width of a filterbank as a fraction of the sample rate; narrower ones would need transforms of
# millions of samples.
NARROWEST = 1e-3
Frequencies = float | np.ndarray | Float[Array, "*shape"]


def hz_to_mel(hz: Frequencies, scale: Scale = "slaney") -> Frequencies:
    """Frequency in Hz, 0 or above, to mel, as ``librosa.hz_to_mel(hz, htk=scale == "htk")``.

    JAX arrays give JAX arrays of their own type; all else is computed by numpy in float64.

    Raises:
      ValueError: the scale is neither "slaney" nor "htk".
    """
    check_choice("scale", scale, ("slaney", "htk"))
    xp, hz = _namespace(hz)
    if scale == "htk":
        return _HTK_FACTOR * xp.log10(1 + hz / _HTK_HZ)
    above = _BREAK_MEL + xp.log(xp.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return xp.where(hz < _BREAK_HZ, hz / _HZ_PER_MEL, above)


def mel_to_hz(mel: Frequencies, scale: Scale = "slaney") -> Frequencies:
    """Mel to frequency in Hz: the inverse of `hz_to_mel`, raising the same."""
    check_choice("scale", scale, ("slaney", "htk"))
    xp, mel = _namespace(mel)
    if scale == "htk":
        return _HTK_HZ * (10 ** (mel / _HTK_FACTOR) - 1)
    above = _BREAK_HZ * xp.exp(_LOG_STEP * (xp.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return xp.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, above)


def _namespace(x: Frequencies) -> tuple:
    return (jnp, x) if isinstance(x, jax.Array) else (np, np.asarray(x, np.float64))


@functools.lru_cache(maxsize=16, typed=True)
def mel_filterbank(
    *,
    sample_rate: float,
    n_fft: int,
    n_mels: int,
    fmin: float = 0.0,
    fmax: float | None = None,
    scale: Scale = "slaney",
    norm: Literal["slaney"] | None = "slaney",
) -> np.ndarray:
    """Triangular filters, evenly spaced in mel.

    Agrees with ``librosa.filters.mel(...).T``. Computed on the host in float64, as a constant of
    the compiled program.

    Args:
      sample_rate: Hz.
      n_fft: samples.
      n_mels: filters.
      fmin, fmax: lower and upper end in Hz; ``fmax`` is ``sample_rate / 2`` by default.
      scale: "slaney" or "htk", as for `hz_to_mel`.
      norm: "slaney" for filters of unit area over Hz, None for filters of unit height.

    Returns:
      float32 ``[n_fft // 2 + 1, n_mels]``, read-only.

    Raises:
      ValueError: a size, the scale or the norm is invalid, ``fmin`` is negative, ``fmax`` is
        above Nyquist or not above ``fmin``, or a filter falls between two bins and would be empty;
        the message then names the smallest ``n_fft`` without empty filters.
    """
    check_level("sample_rate", sample_rate)
    check_integer("n_fft", n_fft, most=MOST_SAMPLES)
    check_integer("n_mels", n_mels, most=min(10_000, max(1, MOST_WEIGHTS // n_fft)))
    check_choice("norm", norm, ("slaney", None))
    fmax = sample_rate / 2 if fmax is None else fmax
    if not 0 <= fmin < fmax <= sample_rate / 2:
        raise ValueError(
            f"need 0 <= fmin < fmax <= {sample_rate / 2:g} Hz (half of sample_rate={sample_rate}),"
            f" got fmin={fmin:g}, fmax={fmax:g}"
        )
    if fmax - fmin < NARROWEST * sample_rate:
        raise ValueError(
            f"fmin={fmin:g} to fmax={fmax:g} Hz is too narrow: at sample_rate={sample_rate} a band"
            f" must be {NARROWEST * sample_rate:g} Hz wide at least"
        )
    lowest, highest = (float(hz_to_mel(hz, scale)) for hz in (fmin, fmax))
    edges = np.asarray(mel_to_hz(np.linspace(lowest, highest, n_mels + 2), scale))
    weights = _triangles(edges, np.arange(n_fft // 2 + 1) * (sample_rate / n_fft))
    if not (weights > 0).any(axis=0).all():
        raise ValueError(
            f"n_mels={n_mels} is more than n_fft={n_fft} resolves between {fmin:g} and {fmax:g} Hz:"
            " some filters would be empty; use fewer mels or at least"
            f" n_fft={_smallest_n_fft(edges, sample_rate, n_fft)}"
        )
    if norm == "slaney":
        weights *= 2 / (edges[2:] - edges[:-2])
    result = weights.astype(np.float32)
    result.setflags(write=False)
    return result


def _triangles(edges: np.ndarray, bins: np.ndarray) -> np.ndarray:
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - lower) / (centre - lower)
    falling = (upper - bins[:, None]) / (upper - centre)
    return np.maximum(0, np.minimum(rising, falling))


def _smallest_n_fft(edges: np.ndarray, sample_rate: float, n_fft: int) -> int:
    """The first transform longer than ``n_fft`` with a bin strictly inside every triangle."""

    def filled(triangles: slice, n_fft: np.ndarray | np.integer) -> np.ndarray:
        lower, upper = edges[:-2][triangles], edges[2:][triangles]
        width = sample_rate / n_fft
        inside = (np.floor(lower / width) + 1) * width
        # Rounding may put a bin on the edge inside.
        return np.where(inside > lower, inside, inside + width) < upper

    widths = edges[2:] - edges[:-2]
    narrowest = int(widths.argmin())
    # A triangle wider than two bins has a bin inside, so the search ends.
    enough = max(n_fft + 1, int(2 * sample_rate / widths[narrowest]) + 1)
    candidates = np.arange(n_fft + 1, enough + 1)
    # Most candidates fail at the narrowest filter, which is tested for all of them at once.
    candidates = candidates[filled(slice(narrowest, narrowest + 1), candidates)]
    return next(int(n) for n in candidates if filled(slice(None), n).all())


def apply_filterbank(x: jax.Array, filters: np.ndarray) -> jax.Array:
    """``x @ filters``, skipping most zeros of the filterbank.

    Neighbouring filters cover neighbouring bins, so each group is a product with those bins alone:
    a quarter of the work for 64 filters, an eighth for 128.
    """

    def product(first: int) -> jax.Array:
        group = filters[:, first : first + GROUP]
        (inside,) = np.nonzero(group.any(axis=1))
        bins = slice(inside[0], inside[-1] + 1)
        return matmul(x[..., bins], group[bins])

    groups = [product(first) for first in range(0, filters.shape[1], GROUP)]
    return jnp.concatenate(groups, axis=-1)


@compiled()
def mel_spectrogram(
    x: Float[Array, "*batch samples"],
    *,
    sample_rate: float,
    n_fft: int = 2048,
    hop_length: int | None = None,
    n_mels: int = 128,
    win_length: int | None = None,
    window: Window = "hann",
    center: bool = True,
    pad_mode: PadMode = "reflect",
    power: float = 2.0,
    fmin: float = 0.0,
    fmax: float | None = None,
    scale: Scale = "slaney",
    norm: Literal["slaney"] | None = "slaney",
) -> Float[Array, "*batch frames n_mels"]:
    """Mel spectrogram, as ``librosa.feature.melspectrogram`` with time before frequency.

    Arguments as for `aejax.signal.stft.spectrogram` and `mel_filterbank`; raises the same.
    """
    filters = mel_filterbank(
        sample_rate=sample_rate,
        n_fft=n_fft,
        n_mels=n_mels,
        fmin=fmin,
        fmax=fmax,
        scale=scale,
        norm=norm,
    ).astype(x.dtype)
    detect = detector(power)
    return stft_then(
        lambda s: apply_filterbank(detect(s), filters),
        x,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        window=window,
        center=center,
        pad_mode=pad_mode,
    )


def mel_cepstrum(
    log_mel: Float[Array, "*batch frames n_mels"], *, n_mfcc: int = 20, lifter: float = 0.0
) -> Float[Array, "*batch frames n_mfcc"]:
    """The orthonormal DCT-II over mel, as ``librosa.feature.mfcc(S=log_mel)``.

    Args:
      log_mel: a mel spectrogram in dB.
      n_mfcc: coefficients, 1 to ``n_mels``.
      lifter: 0 for none; otherwise coefficient k = 0, 1, ... is multiplied by
        ``1 + lifter / 2 * sin(pi * (k + 1) / lifter)``.

    Raises:
      ValueError: ``n_mfcc`` is invalid, or ``lifter`` is negative.
    """
    check_real("log_mel", log_mel, ndim=2)
    n_mels = log_mel.shape[-1]
    check_integer("n_mfcc", n_mfcc, most=n_mels)
    if not 0 <= lifter < float("inf"):
        raise ValueError(f"lifter must be 0 or above, got {lifter!r}")
    k = np.arange(n_mfcc)
    basis = np.cos(np.pi / n_mels * (np.arange(n_mels)[:, None] + 0.5) * k)
    basis *= np.sqrt(np.where(k == 0, 1, 2) / n_mels)
    if lifter > 0:
        basis *= 1 + lifter / 2 * np.sin(np.pi * (k + 1) / lifter)
    return matmul(log_mel, basis.astype(log_mel.dtype))


@compiled()
def mfcc(
    x: Float[Array, "*batch samples"],
    *,
    sample_rate: float,
    n_mfcc: int = 20,
    lifter: float = 0.0,
    floor: float = 1e-10,
    top_db: float | None = 80.0,
    n_fft: int = 2048,
    hop_length: int | None = None,
    n_mels: int = 128,
    win_length: int | None = None,
    window: Window = "hann",
    center: bool = True,
    pad_mode: PadMode = "reflect",
    fmin: float = 0.0,
    fmax: float | None = None,
    scale: Scale = "slaney",
    norm: Literal["slaney"] | None = "slaney",
) -> Float[Array, "*batch frames n_mfcc"]:
    """Mel-frequency cepstral coefficients, as ``librosa.feature.mfcc``.

    Arguments as for `mel_spectrogram`, `aejax.signal.scale.power_to_db` and `mel_cepstrum`, which
    it calls; raises the same.
    """
    mel = mel_spectrogram(
        x,
        sample_rate=sample_rate,
        n_fft=n_fft,
        hop_length=hop_length,
        n_mels=n_mels,
        win_length=win_length,
        window=window,
        center=center,
        pad_mode=pad_mode,
        fmin=fmin,
        fmax=fmax,
        scale=scale,
        norm=norm,
    )
    log_mel = power_to_db(mel, floor=floor, top_db=top_db)
    return mel_cepstrum(log_mel, n_mfcc=n_mfcc, lifter=lifter)
