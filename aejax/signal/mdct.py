"""The modified discrete cosine transform: real, critically sampled, exactly invertible."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aejax.signal.arguments import check_integer, check_real, check_signal, compiled
from aejax.signal.fourier import fft
from aejax.signal.framing import expand, fit_length, map_frames, map_overlap_add
from aejax.signal.windows import Window
from aejax.signal.windows import window as make_window


@compiled()
def mdct(
    x: Float[Array, "*batch samples"], *, win_length: int = 2048, window: Window = "sine"
) -> Float[Array, "*batch frames bins"]:
    """Modified discrete cosine transform, critically sampled.

    ``X[k] = sqrt(2/N) sum_n w[n] x[n] cos(pi/N (n + 1/2 + N/2) (k + 1/2))`` with N bins, half the
    window, which is also the hop. The transform is orthogonal: it preserves energy.

    Source: Princen, Johnson and Bradley, "Subband/transform coding using filter bank designs based
    on time domain aliasing cancellation", ICASSP 1987.

    Args:
      x: audio; padded with half a window of zeros at the start, and to whole frames at the end.
      win_length: samples, a multiple of 4.
      window: "sine", ``("kbd", beta)``, or another of `aejax.signal.windows.window` with squared
        halves that add up to 1.

    Returns:
      ``[..., frames, win_length // 2]``; frames is ``ceil(samples / N) + 1``.

    Raises:
      ValueError: ``win_length`` is not a multiple of 4, or the window is not invertible.
    """
    check_signal(x)
    weight = expand(_checked_window(window, win_length).astype(x.dtype), x.ndim + 1)
    hop = win_length // 2
    frames = -(-x.shape[-1] // hop) + 1
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(hop, 0)])
    x = fit_length(x, (frames + 1) * hop)
    return map_frames(
        lambda frame: _dct_iv(_fold(frame * weight)), x, frame_length=win_length, hop_length=hop
    )


@compiled()
def imdct(
    s: Float[Array, "*batch frames bins"], *, window: Window = "sine", length: int | None = None
) -> Float[Array, "*batch samples"]:
    """Inverse of `mdct`, which is also its adjoint.

    Args:
      s: from `mdct`.
      window: as for `mdct`.
      length: samples to return; by default ``(frames - 1) * bins``, the signal's length
        rounded up to whole hops.

    Raises:
      ValueError: ``s`` has an odd number of bins or less than two frames, or the window of
        ``2 * bins`` samples is not invertible.
    """
    check_real("s", s, ndim=2)
    if length is not None:
        check_integer("length", length)
    hop = s.shape[-1]
    if hop < 2 or hop % 2:
        raise ValueError(f"s must have an even number of bins, half of win_length; got {s.shape}")
    if s.shape[-2] < 2:
        raise ValueError(f"mdct returns at least two frames, s has shape {s.shape}")
    weight = expand(_checked_window(window, 2 * hop).astype(s.dtype), s.ndim)
    x = map_overlap_add(
        lambda s: _unfold(_dct_iv(s)) * weight, s, frame_length=2 * hop, hop_length=hop
    )[..., hop:]
    return x[..., :-hop] if length is None else fit_length(x, length)


def _checked_window(window: Window, win_length: int) -> np.ndarray:
    check_integer("win_length", win_length, least=4)
    if win_length % 4:
        raise ValueError(f"win_length must be a multiple of 4, got {win_length}")
    weight = make_window(window, win_length)
    rising, falling = np.split(np.square(weight), 2)
    if np.abs(rising + falling - 1).max() > 1e-6 or not np.allclose(weight, weight[::-1]):
        raise ValueError(
            f"window {window!r} does not reconstruct: the squares of its halves must add up to 1"
            ' and it must be symmetric; use "sine" or ("kbd", beta)'
        )
    return weight


def _fold(x: jax.Array) -> jax.Array:
    """``[..., 2N]`` to ``[..., N]``: time-domain aliasing. (a, b, c, d) becomes
    (-c reversed - d, a - b reversed).
    """
    a, b, c, d = jnp.split(x, 4, axis=-1)
    return jnp.concatenate([-c[..., ::-1] - d, a - b[..., ::-1]], axis=-1)


def _unfold(x: jax.Array) -> jax.Array:
    """The adjoint of `_fold`."""
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([second, -second[..., ::-1], -first[..., ::-1], -first], axis=-1)


def _dct_iv(x: jax.Array) -> jax.Array:
    """Orthonormal DCT-IV of the last axis, its own inverse, by an FFT of half as many numbers."""
    size = x.shape[-1]
    twist = np.exp(-1j * np.pi / size * (np.arange(size // 2) + 1 / 8))
    twist = expand(twist.astype(np.result_type(x.dtype, np.complex64)), x.ndim)
    z = jax.lax.complex(x[..., ::2], x[..., ::-2]) * twist
    y = fft(z) * twist
    # Even coefficients are the real parts, odd ones from the end the negative imaginary parts.
    pairs = jnp.stack([y.real, -y.imag[..., ::-1]], axis=-1)
    return pairs.reshape(x.shape) * float(np.sqrt(2 / size))
