"""Cutting a signal into overlapping frames, and adding them up again."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from aejax.signal.arguments import check_integer

# Numbers in the frames of one chunk. On a CPU they stay in its cache (2 MB in float32), and the
# allocator hands the same memory out again: a 60 s signal whose frames were all there at once
# spent two thirds of its time in page faults. An accelerator only has to be kept within its memory.
CHUNK = {"cpu": 2**19}
ACCELERATOR_CHUNK = 2**26
# Slices that one expression is made of, at the most.
MOST_PIECES = 8


def num_frames(samples: int, frame_length: int, hop_length: int) -> int:
    """Whole frames of ``frame_length`` that fit in ``samples``, one every ``hop_length``."""
    return 1 + (samples - frame_length) // hop_length if samples >= frame_length else 0


def frame(
    x: Inexact[Array, "*batch samples"], *, frame_length: int, hop_length: int
) -> Inexact[Array, "*batch frames frame_length"]:
    """Overlapping frames, by slices of a reshape instead of a gather.

    The signal is cut in pieces of one hop. A frame is that many whole pieces in a row and the
    beginning of one more, so ``ceil(frame_length / hop_length)`` shifted slices make all frames.
    XLA fuses them, and what is done with each sample next, into one loop.

    Raises:
      ValueError: a length is not a whole number above 0, or the signal is shorter than one frame.
    """
    check_integer("frame_length", frame_length)
    check_integer("hop_length", hop_length)
    samples = x.shape[-1]
    count = num_frames(samples, frame_length, hop_length)
    if count == 0:
        raise ValueError(f"a signal of {samples} samples is shorter than a frame of {frame_length}")
    pieces_per_frame = -(-frame_length // hop_length)
    if pieces_per_frame > MOST_PIECES:
        # So many slices that they would take long to compile: frames of frames instead.
        span = (MOST_PIECES - 1) * hop_length + frame_length
        x = _pad_end(x, samples + (MOST_PIECES - 1) * hop_length)
        long = frame(x, frame_length=span, hop_length=MOST_PIECES * hop_length)
        starts = range(0, MOST_PIECES * hop_length, hop_length)
        frames = jnp.stack([long[..., i : i + frame_length] for i in starts], axis=-2)
        return frames.reshape(*x.shape[:-1], -1, frame_length)[..., :count, :]
    needed = (count - 1 + pieces_per_frame) * hop_length
    pieces = _pad_end(x[..., :needed], needed).reshape(*x.shape[:-1], -1, hop_length)
    shifted = [pieces[..., i : i + count, :] for i in range(pieces_per_frame)]
    return jnp.concatenate(shifted, axis=-1)[..., :frame_length]


def overlap_add(
    frames: Inexact[Array, "*batch frames frame_length"], *, hop_length: int
) -> Inexact[Array, "*batch samples"]:
    """The sum of frames laid one hop apart: the adjoint of `frame`.

    Returns:
      ``(frames - 1) * hop_length + frame_length`` samples.

    Raises:
      ValueError: the hop is not a whole number above 0, or there is no frame.
    """
    check_integer("hop_length", hop_length)
    count, frame_length = frames.shape[-2:]
    check_integer("frames", count)
    samples = (count - 1) * hop_length + frame_length
    pieces_per_frame = -(-frame_length // hop_length)
    if pieces_per_frame > MOST_PIECES:
        # As in `frame`: neighbours are added up to long frames first.
        lead = [(0, 0)] * (frames.ndim - 2)
        frames = jnp.pad(frames, [*lead, (0, -count % MOST_PIECES), (0, 0)])
        groups = frames.reshape(*frames.shape[:-2], -1, MOST_PIECES, frame_length)
        long = _add_shifted(jnp.moveaxis(groups, -2, 0), hop_length, axis=-1)
        return overlap_add(long, hop_length=MOST_PIECES * hop_length)[..., :samples]
    pieces = _pad_end(frames, pieces_per_frame * hop_length)
    pieces = pieces.reshape(*pieces.shape[:-1], pieces_per_frame, hop_length)
    total = _add_shifted(jnp.moveaxis(pieces, -2, 0), 1, axis=-2)
    return total.reshape(*total.shape[:-2], -1)[..., :samples]


def _add_shifted(parts: jax.Array, shift: int, axis: int) -> jax.Array:
    """The sum of the leading dimension, part i moved by ``i * shift`` along ``axis``."""

    def moved(i: int) -> jax.Array:
        widths = [(0, 0)] * (parts.ndim - 1)
        widths[axis] = (i * shift, (len(parts) - 1 - i) * shift)
        return jnp.pad(parts[i], widths)

    return functools.reduce(jnp.add, (moved(i) for i in range(len(parts))))


def fit_length(x: Inexact[Array, "*batch samples"], length: int) -> Inexact[Array, "*batch length"]:
    """``x`` cut to ``length`` samples, or filled up with zeros behind."""
    return _pad_end(x[..., :length], length)


def _pad_end(x: jax.Array, length: int) -> jax.Array:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, length - x.shape[-1])])


def expand(row: jax.Array | np.ndarray, ndim: int) -> jax.Array | np.ndarray:
    """A row with leading dimensions of 1, so that it multiplies arrays of ``ndim`` dimensions."""
    return row[(None,) * (ndim - 1)]


# What follows runs over chunks of frames: a whole signal's frames take `frame_length / hop_length`
# times its memory. Only values are made so: derivatives are those of the plain expression, which
# is faster than a loop that keeps every chunk's intermediate values, though it takes their memory.


def map_frames(
    function: Callable[[jax.Array], jax.Array],
    x: Float[Array, "*batch samples"],
    *,
    frame_length: int,
    hop_length: int,
) -> Inexact[Array, "*batch frames width"]:
    """``function(frame(x, ...))``, a chunk of frames at a time: the same numbers in less memory.

    Args:
      function: from ``[..., frames, frame_length]`` to ``[..., frames, width]``, each row by
        itself. It must not close over traced arrays.
      x: a signal.
      frame_length, hop_length: as for `frame`; raises what it raises.
    """
    return _map_frames(function, x, frame_length, hop_length)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 2, 3))
def _map_frames(function: Callable, x: jax.Array, frame_length: int, hop_length: int) -> jax.Array:
    count = num_frames(x.shape[-1], frame_length, hop_length)
    size = _chunk(count, frame_length * math.prod(x.shape[:-1]))
    plain = functools.partial(_plain_map, function, frame_length, hop_length)
    if size >= count:
        return plain(x)
    span = (size - 1) * hop_length + frame_length
    row = jax.eval_shape(plain, x[..., :span])

    def add_chunk(index: jax.Array, out: jax.Array) -> jax.Array:
        # The last chunk is moved back to end with the signal, and makes some frames again.
        start = jnp.minimum(index * size, count - size)
        samples = jax.lax.dynamic_slice_in_dim(x, start * hop_length, span, axis=-1)
        return jax.lax.dynamic_update_slice_in_dim(out, plain(samples), start, axis=-2)

    # Every element is written before it is read, so it need not be zero first.
    out = jax.lax.empty((*x.shape[:-1], count, row.shape[-1]), row.dtype)
    return jax.lax.fori_loop(0, -(-count // size), add_chunk, out)


def _plain_map(function: Callable, frame_length: int, hop_length: int, x: jax.Array) -> jax.Array:
    return function(frame(x, frame_length=frame_length, hop_length=hop_length))


@_map_frames.defjvp
def _map_frames_jvp(
    function: Callable, frame_length: int, hop_length: int, primals: tuple, tangents: tuple
) -> tuple[jax.Array, jax.Array]:
    plain = functools.partial(_plain_map, function, frame_length, hop_length)
    return jax.jvp(plain, primals, tangents)


def map_overlap_add(
    function: Callable[[jax.Array], jax.Array],
    s: Inexact[Array, "*batch frames width"],
    *,
    frame_length: int,
    hop_length: int,
) -> Float[Array, "*batch samples"]:
    """``overlap_add(function(s), ...)``, a chunk of frames at a time, in less memory.

    Args:
      function: from ``[..., frames, width]`` to ``[..., frames, frame_length]``, each row by
        itself. It must not close over traced arrays.
      s: one row for each frame.
      frame_length: samples that ``function`` makes of a row.
      hop_length: as for `overlap_add`.
    """
    return _map_overlap_add(function, s, frame_length, hop_length)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 2, 3))
def _map_overlap_add(
    function: Callable, s: jax.Array, frame_length: int, hop_length: int
) -> jax.Array:
    count = s.shape[-2]
    size = _chunk(count, frame_length * math.prod(s.shape[:-2]))
    if size >= count:
        return overlap_add(function(s), hop_length=hop_length)
    span = (size - 1) * hop_length + frame_length
    dtype = jax.eval_shape(function, s[..., :1, :]).dtype

    def add_chunk(index: jax.Array, out: jax.Array) -> jax.Array:
        start = jnp.minimum(index * size, count - size)
        frames = function(jax.lax.dynamic_slice_in_dim(s, start, size, axis=-2))
        # The last chunk is moved back to end with the signal; what it makes again is left out.
        is_new = start + jnp.arange(size) >= index * size
        frames = jnp.where(expand(is_new[:, None], frames.ndim - 1), frames, 0)
        samples = overlap_add(frames, hop_length=hop_length)
        before = jax.lax.dynamic_slice_in_dim(out, start * hop_length, span, axis=-1)
        return jax.lax.dynamic_update_slice_in_dim(
            out, before + samples, start * hop_length, axis=-1
        )

    out = jnp.zeros((*s.shape[:-2], (count - 1) * hop_length + frame_length), dtype)
    return jax.lax.fori_loop(0, -(-count // size), add_chunk, out)


@_map_overlap_add.defjvp
def _map_overlap_add_jvp(
    function: Callable, frame_length: int, hop_length: int, primals: tuple, tangents: tuple
) -> tuple[jax.Array, jax.Array]:
    def plain(s: jax.Array) -> jax.Array:
        return overlap_add(function(s), hop_length=hop_length)

    return jax.jvp(plain, primals, tangents)


def _chunk(count: int, numbers_per_frame: int) -> int:
    """Frames in one chunk, of ``count`` frames; all of them evenly, and at least one."""
    numbers = CHUNK.get(jax.default_backend(), ACCELERATOR_CHUNK)
    most = max(1, numbers // max(1, numbers_per_frame))
    chunks = -(-count // most)
    return -(-count // chunks)
