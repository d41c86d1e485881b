"""The short-time Fourier transform and its inverse, in librosa's conventions."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from aejax.signal.framing import frame, overlap_add
from aejax.signal.framing import window as make_window

PadMode = Literal["reflect", "constant", "edge"]


def stft(
    x: Float[Array, "*batch samples"],
    *,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: str = "hann",
    center: bool = True,
    pad_mode: PadMode = "reflect",
) -> Complex[Array, "*batch frames bins"]:
    """Short-time Fourier transform, as ``librosa.stft`` but with time before frequency.

    Args:
      x: audio; float32.
      n_fft: samples in one transform.
      hop_length: samples from frame to frame; ``win_length // 4`` by default.
      win_length: samples of the window, centred in ``n_fft``; ``n_fft`` by default.
      window: a key of `aejax.signal.framing.WINDOWS`.
      center: pad by ``n_fft // 2`` on both sides, so that frame t is centred at ``t * hop_length``.
      pad_mode: how to pad, as ``numpy.pad`` names it. librosa's default is "constant",
        torch's is "reflect", which is ours too: it makes no edge where there is none.

    Returns:
      complex64 ``[..., frames, n_fft // 2 + 1]``; with ``center``, frames is
      ``1 + samples // hop_length``.

    Raises:
      ValueError: the window does not fit, or the signal is too short for one frame.
    """
    win_length = win_length or n_fft
    hop_length = hop_length or win_length // 4
    if center:
        lead = [(0, 0)] * (x.ndim - 1)
        x = jnp.pad(x, [*lead, (n_fft // 2, n_fft // 2)], mode=pad_mode)
    frames = frame(x, frame_length=n_fft, hop_length=hop_length)
    weight = make_window(window, win_length, n_fft)
    return jnp.fft.rfft(frames * weight[(None,) * (frames.ndim - 1)], axis=-1)


def istft(
    s: Complex[Array, "*batch frames bins"],
    *,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: str = "hann",
    center: bool = True,
    length: int | None = None,
) -> Float[Array, "*batch samples"]:
    """Inverse of `stft` by weighted overlap-add: the least-squares inverse.

    Source: Griffin and Lim, "Signal estimation from modified short-time Fourier transform",
    IEEE ASSP 32(2), 1984, equation 6.

    Args:
      s: complex64 ``[..., frames, n_fft // 2 + 1]``.
      n_fft, hop_length, win_length, window, center: as they were given to `stft`.
      length: samples to return, cut or padded with zeros; by default all that the frames cover
        (with ``center``, ``(frames - 1) * hop_length``).

    Returns:
      float32 ``[..., samples]``.

    Raises:
      ValueError: ``s`` has other bins than ``n_fft`` makes, or some sample is under no window.
    """
    win_length = win_length or n_fft
    hop_length = hop_length or win_length // 4
    count, bins = s.shape[-2:]
    if bins != n_fft // 2 + 1:
        raise ValueError(f"n_fft={n_fft} makes {n_fft // 2 + 1} bins, the spectrum has {bins}")
    weight = make_window(window, win_length, n_fft)
    envelope = _squared_window_sum(weight, count, hop_length)
    first = n_fft // 2 if center else 0
    last = len(envelope) - n_fft // 2 if center else len(envelope)
    # Without `center` the ends lie under the window's own flanks, and a Hann window begins with
    # a zero: those few samples are lost. Anywhere else a zero means that the hop is too long.
    inner = envelope[first:last] if center else envelope[win_length : len(envelope) - win_length]
    if inner.size and inner.min() < 1e-8 * envelope.max():
        raise ValueError(
            f"a {window} window of {win_length} every {hop_length} samples leaves samples"
            f" uncovered; hop_length must be below {win_length}"
        )
    frames = jnp.fft.irfft(s, n=n_fft, axis=-1) * weight[(None,) * (s.ndim - 1)]
    inverse = 1 / np.where(envelope > 1e-8 * envelope.max(), envelope, 1.0)
    x = overlap_add(frames, hop_length=hop_length)
    x = (x * inverse.astype(np.float32)[(None,) * (x.ndim - 1)])[..., first:last]
    if length is None:
        return x
    x = x[..., :length]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, length - x.shape[-1])])


def _squared_window_sum(weight: np.ndarray, count: int, hop_length: int) -> np.ndarray:
    """What overlapping squared windows add up to at each sample: a constant of the program."""
    total = np.zeros((count - 1) * hop_length + len(weight))
    for start in range(0, count * hop_length, hop_length):
        total[start : start + len(weight)] += np.square(weight, dtype=np.float64)
    return total


def power(s: Complex[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Squared magnitude, whose gradient is finite everywhere, at silence too."""
    return jnp.square(s.real) + jnp.square(s.imag)
