"""The short-time Fourier transform and its inverse, in librosa's conventions."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from aejax.signal.arguments import (
    check_choice,
    check_integer,
    check_signal,
    check_spectrum,
    compiled,
    frame_sizes,
)
from aejax.signal.fourier import irfft, rfft
from aejax.signal.framing import expand, fit_length, map_frames, map_overlap_add
from aejax.signal.windows import Window
from aejax.signal.windows import window as make_window

PadMode = Literal["reflect", "constant", "edge"]
PAD_MODES = ("reflect", "constant", "edge")
# Fraction of its maximum below which the sum of squared windows counts as zero.
UNCOVERED = 1e-8


@compiled()
def stft(
    x: Float[Array, "*batch samples"],
    *,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Window = "hann",
    center: bool = True,
    pad_mode: PadMode = "reflect",
) -> Complex[Array, "*batch frames bins"]:
    """Short-time Fourier transform, as ``librosa.stft`` but with time before frequency.

    Args:
      x: audio; float32 (or float64, for complex128).
      n_fft: samples in one transform; any number.
      hop_length: samples from frame to frame, 1 to ``win_length``; ``win_length // 4`` by default.
      win_length: samples of the window, centred in ``n_fft``; ``n_fft`` by default.
      window: as for `aejax.signal.windows.window`, periodic.
      center: pad by ``n_fft // 2`` on both sides, so that frame t is centred at ``t * hop_length``.
      pad_mode: padding, named as in ``numpy.pad``. librosa's default is "constant", torch's is
        "reflect", as here: it adds no discontinuity.

    Returns:
      complex64 ``[..., frames, n_fft // 2 + 1]``; with ``center`` and an even ``n_fft``, frames is
      ``1 + samples // hop_length``. No factor is applied: a full-scale sine in the middle of a bin
      has the magnitude ``sum(window) / 2``.

    Raises:
      ValueError: a size, the window or ``pad_mode`` is invalid, or the signal is too short
        for reflect padding or, without ``center``, for one frame.

    Reverse-mode derivatives are of any order; forward-mode ones need signals that fit in one chunk,
    see `aejax.signal.framing`.
    """
    return stft_then(
        lambda s: s,
        x,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        window=window,
        center=center,
        pad_mode=pad_mode,
    )


@compiled()
def spectrogram(
    x: Float[Array, "*batch samples"],
    *,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Window = "hann",
    center: bool = True,
    pad_mode: PadMode = "reflect",
    power: float = 2.0,
) -> Float[Array, "*batch frames bins"]:
    """``magnitude(stft(x, ...))`` or ``power(stft(x, ...))``, without memory for the STFT.

    Args:
      x, n_fft, hop_length, win_length, window, center, pad_mode: as for `stft`, raising the same.
      power: 1 for the magnitude, 2 for the power.
    """
    return stft_then(
        detector(power),
        x,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        window=window,
        center=center,
        pad_mode=pad_mode,
    )


def stft_then(
    function: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    *,
    n_fft: int,
    hop_length: int | None,
    win_length: int | None,
    window: Window,
    center: bool,
    pad_mode: PadMode,
    chunked: bool = True,
) -> jax.Array:
    """``function(stft(x, ...))``, chunk by chunk, for a function of single frames.

    The whole STFT is never stored: at a hop of a quarter window it takes four times the memory of
    the signal.
    """
    check_signal(x)
    hop_length, win_length = frame_sizes(n_fft, hop_length, win_length)
    # XLA's program for a batch is four times as fast.
    is_unbatched, x = x.ndim == 1, jnp.atleast_2d(x)
    weight = make_window(window, win_length, n_fft=n_fft).astype(x.dtype)
    x = _pad(x, n_fft, pad_mode) if center else x
    if x.shape[-1] < n_fft:
        raise ValueError(
            f"x has {x.shape[-1]} samples, fewer than n_fft={n_fft}, so less than a frame"
            " without center=True"
        )

    def transform(frames: jax.Array) -> jax.Array:
        return function(rfft(frames * expand(weight, frames.ndim)))

    s = map_frames(transform, x, frame_length=n_fft, hop_length=hop_length, chunked=chunked)
    return s[0] if is_unbatched else s


def _pad(x: jax.Array, n_fft: int, pad_mode: PadMode) -> jax.Array:
    check_choice("pad_mode", pad_mode, PAD_MODES)
    width = n_fft // 2
    if pad_mode == "reflect" and x.shape[-1] <= width:
        raise ValueError(
            f"pad_mode='reflect' needs more samples than n_fft // 2 = {width}, x has"
            f" {x.shape[-1]}; 'constant' and 'edge' take any number"
        )
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(width, width)], mode=pad_mode)


@compiled()
def istft(
    s: Complex[Array, "*batch frames bins"],
    *,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Window = "hann",
    center: bool = True,
    length: int | None = None,
) -> Float[Array, "*batch samples"]:
    """Inverse of `stft` by weighted overlap-add: the least-squares inverse.

    Source: Griffin and Lim, "Signal estimation from modified short-time Fourier transform",
    IEEE ASSP 32(2), 1984, equation 6.

    Args:
      s: complex64 ``[..., frames, n_fft // 2 + 1]``.
      n_fft, hop_length, win_length, window, center: as for `stft`.
      length: samples to return, padded with zeros where no frame reaches; by default all from
        the middle of the first frame to the middle of the last, ``(frames - 1) * hop_length``, and
        one more for an odd ``n_fft``; without ``center``, all that the frames cover. Samples
        covered only by the flank of the first or last window are less exact towards its end, and
        zero where the window is below 1e-4 of its maximum.

    Returns:
      float32 ``[..., samples]``.

    Raises:
      ValueError: a size is invalid, ``s`` has the wrong number of bins, or samples between the
        windows have no weight.
    """
    return inverse(
        s,
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        window=window,
        center=center,
        length=length,
    )


def inverse(
    s: jax.Array,
    *,
    n_fft: int,
    hop_length: int | None,
    win_length: int | None,
    window: Window,
    center: bool,
    length: int | None,
    chunked: bool = True,
) -> jax.Array:
    """`istft`, with ``chunked=False`` for callers that store all frames anyway."""
    hop_length, win_length = frame_sizes(n_fft, hop_length, win_length)
    check_spectrum(s, n_fft)
    if length is not None:
        check_integer("length", length)
    weight = make_window(window, win_length, n_fft=n_fft)
    _check_invertible(weight, window, win_length, hop_length)
    if center and n_fft % 2 == 0 and s.shape[-2] == 1 and length is None:
        raise ValueError("a single centred frame has no samples by default; give length")
    weight = weight.astype(s.real.dtype)

    def transform(s: jax.Array) -> jax.Array:
        return irfft(s, n_fft) * expand(weight, s.ndim)

    x = map_overlap_add(transform, s, frame_length=n_fft, hop_length=hop_length, chunked=chunked)
    x = x * expand(_inverse_envelope(weight, hop_length, s.shape[-2]), x.ndim)
    first = n_fft // 2 if center else 0
    if length is not None:
        return fit_length(x[..., first:], length)
    return x[..., first : x.shape[-1] - first]


def _check_invertible(weight: np.ndarray, window: Window, win_length: int, hop_length: int) -> None:
    squared = np.square(weight)
    pieces = np.pad(squared, (0, -len(squared) % hop_length)).reshape(-1, hop_length)
    total = pieces.sum(axis=0)
    if not total.min() > UNCOVERED * total.max():
        raise ValueError(
            f"a {window!r} window of win_length={win_length} every hop_length={hop_length} samples"
            " cannot be inverted: samples between the windows have no weight; use a shorter hop"
        )


def _inverse_envelope(weight: np.ndarray, hop_length: int, count: int) -> jax.Array:
    """One over the sum of ``count`` overlapping squared windows, at each sample.

    The sum rises over the first windows, then repeats every hop, then falls. The host computes it
    for the fewest windows with one such hop, which the compiled program repeats: a constant for all
    windows would be as long as the signal.
    """
    per_window = -(-len(weight) // hop_length)
    few = min(count, per_window)
    envelope = np.zeros((few + per_window - 1) * hop_length)
    for start in range(0, few * hop_length, hop_length):
        envelope[start : start + len(weight)] += np.square(weight, dtype=np.float64)
    covered = envelope > UNCOVERED * envelope.max()
    inverse = np.where(covered, 1 / np.where(covered, envelope, 1), 0).astype(weight.dtype)
    samples = (few - 1) * hop_length + len(weight)
    # The last hop of the first window is covered by the full number of windows.
    middle = (per_window - 1) * hop_length
    repeated = jnp.broadcast_to(
        inverse[middle : middle + hop_length], (count - few, hop_length)
    ).reshape(-1)
    return jnp.concatenate([inverse[:middle], repeated, inverse[middle:samples]])


def detector(power: float) -> Callable[[jax.Array], jax.Array]:
    """`magnitude` for a power of 1, `power` for 2; raises ValueError for others."""
    check_choice("power", power, tuple(DETECTORS))
    return DETECTORS[power]


def magnitude(s: Complex[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Absolute value, with a gradient that is finite everywhere and zero at silence.

    Computed as the root of `power`, which is 0 below 1e-19 in float32: 380 dB under full scale.
    """
    squared = power(s)
    is_zero = squared == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, squared)))


def power(s: Complex[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Squared absolute value, whose gradient is finite everywhere, at silence too."""
    return jnp.square(s.real) + jnp.square(s.imag)


DETECTORS: dict[float, Callable[[jax.Array], jax.Array]] = {1: magnitude, 2: power}
