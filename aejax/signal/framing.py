"""Cutting a signal into overlapping frames, windowing them, and adding them up again."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def hann(win_length: int) -> np.ndarray:
    """Periodic Hann window, float64 ``[win_length]``: ``scipy.signal.get_window("hann", n)``."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(win_length) / win_length)


def ones(win_length: int) -> np.ndarray:
    """Rectangular window, float64 ``[win_length]``."""
    return np.ones(win_length)


WINDOWS = {"hann": hann, "ones": ones}


def window(name: str, win_length: int, n_fft: int) -> np.ndarray:
    """The named window of ``win_length`` samples, centred in ``n_fft`` by zeros, as librosa does.

    A constant of the compiled program, so it is made on the host.

    Args:
      name: a key of `WINDOWS`.
      win_length: samples, 1 to ``n_fft``.
      n_fft: samples.

    Returns:
      float32 ``[n_fft]``.

    Raises:
      ValueError: the name is unknown, or the window does not fit in ``n_fft``.
    """
    if name not in WINDOWS:
        raise ValueError(f"unknown window {name!r}; known: {', '.join(WINDOWS)}")
    if not 1 <= win_length <= n_fft:
        raise ValueError(f"win_length must be 1 to n_fft={n_fft}, got {win_length}")
    before = (n_fft - win_length) // 2
    padded = np.pad(WINDOWS[name](win_length), (before, n_fft - win_length - before))
    return padded.astype(np.float32)


def num_frames(samples: int, frame_length: int, hop_length: int) -> int:
    """Whole frames of ``frame_length`` that fit in ``samples``, one every ``hop_length``."""
    return 1 + (samples - frame_length) // hop_length if samples >= frame_length else 0


def frame(
    x: Float[Array, "*batch samples"], *, frame_length: int, hop_length: int
) -> Float[Array, "*batch frames frame_length"]:
    """Overlapping frames, by slices of a reshape instead of a gather (XLA's gather is slow).

    The signal is cut in pieces of one hop. A frame is that many whole pieces in a row and the
    beginning of one more, so ``ceil(frame_length / hop_length)`` shifted slices make all frames.

    Raises:
      ValueError: the signal is shorter than one frame.
    """
    samples = x.shape[-1]
    count = num_frames(samples, frame_length, hop_length)
    if count == 0:
        raise ValueError(f"a signal of {samples} samples is shorter than a frame of {frame_length}")
    pieces_per_frame = -(-frame_length // hop_length)
    needed = (count - 1 + pieces_per_frame) * hop_length
    x = x[..., :needed]
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, needed - x.shape[-1])])
    pieces = x.reshape(*x.shape[:-1], -1, hop_length)
    shifted = [pieces[..., i : i + count, :] for i in range(pieces_per_frame)]
    return jnp.concatenate(shifted, axis=-1)[..., :frame_length]


def overlap_add(
    frames: Float[Array, "*batch frames frame_length"], *, hop_length: int
) -> Float[Array, "*batch samples"]:
    """The sum of frames laid one hop apart: the adjoint of `frame`.

    Returns ``(frames - 1) * hop_length + frame_length`` samples.
    """
    count, frame_length = frames.shape[-2:]
    pieces_per_frame = -(-frame_length // hop_length)
    lead = [(0, 0)] * (frames.ndim - 2)
    pad = pieces_per_frame * hop_length - frame_length
    pieces = jnp.pad(frames, [*lead, (0, 0), (0, pad)])
    pieces = pieces.reshape(*pieces.shape[:-1], pieces_per_frame, hop_length)
    total = sum(
        jnp.pad(pieces[..., i, :], [*lead, (i, pieces_per_frame - 1 - i), (0, 0)])
        for i in range(pieces_per_frame)
    )
    assert isinstance(total, jax.Array)
    samples = (count - 1) * hop_length + frame_length
    return total.reshape(*total.shape[:-2], -1)[..., :samples]
