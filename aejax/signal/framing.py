"""Overlapping frames of a signal, and overlap-add."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from aejax.signal.arguments import check_dimensions, check_integer, is_symbolic

# Values in the frames of one chunk. On a CPU they fit in its cache (2 MB in float32), and the
# allocator reuses the memory: with all frames of a 60 s signal at once, two thirds of the time was
# page faults. On an accelerator only memory is limited.
CHUNK = {"cpu": 2**19, "accelerator": 2**26}
# Most values in all frames for which a derivative stores the forward pass; above, recomputing it
# in chunks is faster.
KEEP = {"cpu": 2**21, "accelerator": 2**26}
# Most slices in one expression.
MOST_PIECES = 8


def num_frames(samples: int, frame_length: int, hop_length: int) -> int:
    """Number of whole frames in ``samples``, one every ``hop_length``."""
    return 1 + (samples - frame_length) // hop_length if samples >= frame_length else 0


def frame(
    x: Inexact[Array, "*batch samples"], *, frame_length: int, hop_length: int
) -> Inexact[Array, "*batch frames frame_length"]:
    """Overlapping frames, by slices of a reshape instead of a gather.

    The signal is split into pieces of one hop. A frame is several consecutive pieces and the
    beginning of one more, so ``ceil(frame_length / hop_length)`` shifted slices make all frames.
    XLA compiles these to slices, which copy whole rows, and one concatenation.

    Raises:
      ValueError: a length is not a whole number above 0, or the signal is shorter than one frame.
    """
    check_dimensions("x", x, 1)
    check_integer("frame_length", frame_length)
    check_integer("hop_length", hop_length)
    samples = x.shape[-1]
    count = num_frames(samples, frame_length, hop_length)
    if count == 0:
        raise ValueError(f"a signal of {samples} samples is shorter than a frame of {frame_length}")
    pieces_per_frame = -(-frame_length // hop_length)
    if pieces_per_frame > MOST_PIECES:
        # Many slices take long to compile: frames of frames instead.
        span = (MOST_PIECES - 1) * hop_length + frame_length
        x = _pad_end(x, samples + (MOST_PIECES - 1) * hop_length)
        long = frame(x, frame_length=span, hop_length=MOST_PIECES * hop_length)
        starts = range(0, MOST_PIECES * hop_length, hop_length)
        frames = jnp.stack([long[..., i : i + frame_length] for i in starts], axis=-2)
        return _merge(frames, -3)[..., :count, :]
    needed = count - 1 + pieces_per_frame
    pieces = _split(_pad_end(x[..., : needed * hop_length], needed * hop_length), hop_length)
    shifted = [pieces[..., i : i + count, :] for i in range(pieces_per_frame)]
    return jnp.concatenate(shifted, axis=-1)[..., :frame_length]


def overlap_add(
    frames: Inexact[Array, "*batch frames frame_length"], *, hop_length: int
) -> Inexact[Array, "*batch samples"]:
    """The sum of frames one hop apart: the adjoint of `frame`.

    Returns:
      ``(frames - 1) * hop_length + frame_length`` samples.

    Raises:
      ValueError: the hop is not a whole number above 0, or there is no frame.
    """
    check_dimensions("frames", frames, 2)
    check_integer("hop_length", hop_length)
    count, frame_length = frames.shape[-2:]
    check_integer("frames", count)
    check_integer("frame_length", frame_length)
    samples = (count - 1) * hop_length + frame_length
    pieces_per_frame = -(-frame_length // hop_length)
    if pieces_per_frame > MOST_PIECES:
        # As in `frame`: neighbouring frames are first added up to long frames.
        lead = [(0, 0)] * (frames.ndim - 2)
        frames = jnp.pad(frames, [*lead, (0, -count % MOST_PIECES), (0, 0)])
        groups = jnp.moveaxis(_split(jnp.moveaxis(frames, -2, -1), MOST_PIECES), -3, -1)
        long = _add_shifted(jnp.moveaxis(groups, -2, 0), hop_length, axis=-1)
        return overlap_add(long, hop_length=MOST_PIECES * hop_length)[..., :samples]
    pieces = _split(_pad_end(frames, pieces_per_frame * hop_length), hop_length)
    total = _add_shifted(jnp.moveaxis(pieces, -2, 0), 1, axis=-2)
    return _merge(total, -2)[..., :samples]


def _add_shifted(parts: jax.Array, shift: int, axis: int) -> jax.Array:
    """The sum of the leading dimension, part i moved by ``i * shift`` along ``axis``."""

    def moved(i: int) -> jax.Array:
        widths = [(0, 0)] * (parts.ndim - 1)
        widths[axis] = (i * shift, (len(parts) - 1 - i) * shift)
        return jnp.pad(parts[i], widths)

    return functools.reduce(jnp.add, (moved(i) for i in range(len(parts))))


def fit_length(x: Inexact[Array, "*batch samples"], length: int) -> Inexact[Array, "*batch length"]:
    """``x`` trimmed, or padded with zeros at the end, to ``length`` samples."""
    return _pad_end(x[..., :length], length)


def _split(x: jax.Array, size: int) -> jax.Array:
    """``x`` with its last axis split in two, the second of ``size``."""
    return x.reshape(*x.shape[:-1], x.shape[-1] // size, size)


def _merge(x: jax.Array, axis: int) -> jax.Array:
    """``x`` with axis ``axis``, counted from the end, and the next one merged."""
    shape = x.shape
    after = shape[axis + 2 :] if axis < -2 else ()
    return x.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *after)


def _pad_end(x: jax.Array, length: int) -> jax.Array:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, length - x.shape[-1])])


def expand(row: jax.Array | np.ndarray, ndim: int) -> jax.Array | np.ndarray:
    """A row with leading dimensions of 1, to broadcast against ``ndim`` dimensions."""
    return row[(None,) * (ndim - 1)]


# The functions below loop over chunks of frames, as all frames of a signal take `frame_length /
# hop_length` times its memory. The derivative of a long signal is a second loop; forward-mode
# derivatives work only for signals of one chunk.


def map_frames(
    function: Callable[[jax.Array], jax.Array],
    x: Float[Array, "*batch samples"],
    *,
    frame_length: int,
    hop_length: int,
    chunked: bool = True,
) -> Inexact[Array, "*batch frames width"]:
    """``function(frame(x, ...))``, a chunk of frames at a time: the same result in less memory.

    Args:
      function: from ``[..., frames, frame_length]`` to ``[..., frames, width]``, row by row.
        It must not close over traced arrays.
      x: a signal.
      frame_length, hop_length: as for `frame`; raises the same.
      chunked: False if all frames are needed anyway.
    """
    whole = functools.partial(frame, frame_length=frame_length, hop_length=hop_length)
    return _by_platform(
        lambda x: function(whole(x)),
        functools.partial(_map_frames, function),
        x,
        _Chunks(x.shape[:-1], x.shape[-1], frame_length, hop_length),
        chunked=chunked,
    )


def map_overlap_add(
    function: Callable[[jax.Array], jax.Array],
    s: Inexact[Array, "*batch frames width"],
    *,
    frame_length: int,
    hop_length: int,
    chunked: bool = True,
) -> Float[Array, "*batch samples"]:
    """``overlap_add(function(s), ...)``, a chunk of frames at a time, in less memory.

    Args:
      function: from ``[..., frames, width]`` to ``[..., frames, frame_length]``, row by row.
        It must not close over traced arrays.
      s: one row for each frame.
      frame_length: samples of a row of ``function``'s output.
      hop_length: as for `overlap_add`.
      chunked: as for `map_frames`.
    """
    samples = (s.shape[-2] - 1) * hop_length + frame_length
    return _by_platform(
        lambda s: overlap_add(function(s), hop_length=hop_length),
        functools.partial(_map_overlap_add, function),
        s,
        _Chunks(s.shape[:-2], samples, frame_length, hop_length),
        chunked=chunked,
    )


def _by_platform(
    whole: Callable[[jax.Array], jax.Array],
    in_chunks: Callable[["_Chunks", jax.Array], jax.Array],
    x: jax.Array,
    chunks: "_Chunks",
    *,
    chunked: bool,
) -> jax.Array:
    """``whole(x)``, or ``in_chunks(chunks, x)`` where the platform that the program is compiled
    for needs several chunks."""
    plans = {name: dataclasses.replace(chunks, platform=name) for name in CHUNK}
    functions = {
        name: whole if plan.is_single or not chunked else functools.partial(in_chunks, plan)
        for name, plan in plans.items()
    }
    if functions["cpu"] is whole:  # then on others too
        return whole(x)
    return jax.lax.platform_dependent(x, cpu=functions["cpu"], default=functions["accelerator"])


def _zeros(like: jax.Array, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
    """Zeros with the leading dimensions of ``like`` and their sharding over devices."""
    first = jnp.zeros_like(like[(..., *(slice(1) for _ in shape))], dtype=dtype)
    return jnp.broadcast_to(first, (*first.shape[: -len(shape)], *shape))


@dataclasses.dataclass(frozen=True)
class _Chunks:
    """Equal chunks of a signal's frames; the last may overlap the one before.

    Attributes:
      batch: leading dimensions of the signal.
      samples: of the signal.
      frame_length, hop_length: samples.
      platform: "cpu" or "accelerator".
    """

    batch: tuple[int, ...]
    samples: int
    frame_length: int
    hop_length: int
    platform: str = "cpu"

    @property
    def frames(self) -> int:
        """Frames of the whole signal."""
        return num_frames(self.samples, self.frame_length, self.hop_length)

    @property
    def size(self) -> int:
        """Frames in a chunk."""
        most = max(1, CHUNK[self.platform] // max(1, self.frame_length * math.prod(self.batch)))
        return -(-self.frames // -(-self.frames // most)) if self.frames else 0

    @property
    def _is_symbolic(self) -> bool:
        """Whether a size is symbolic; the number of chunks is unknown then."""
        return any(map(is_symbolic, (*self.batch, self.samples)))

    @property
    def is_single(self) -> bool:
        """Whether there is only one chunk."""
        return self._is_symbolic or self.size >= self.frames

    @property
    def keep(self) -> bool:
        """Whether a derivative stores the forward pass, instead of recomputing it."""
        if self._is_symbolic:
            return True
        values = self.frames * self.frame_length * math.prod(self.batch)
        return values <= KEEP[self.platform]

    @property
    def span(self) -> int:
        """Samples under the frames of a chunk."""
        return (self.size - 1) * self.hop_length + self.frame_length

    def loop(self, body: Callable[[Any, jax.Array], jax.Array], out: jax.Array) -> jax.Array:
        """``out = body(chunk, out)`` for each chunk; a chunk is its index and its first frame."""

        def step(index: jax.Array, out: jax.Array) -> jax.Array:
            first = jnp.minimum(index * self.size, self.frames - self.size)
            return body((index, first), out)

        return jax.lax.fori_loop(0, -(-self.frames // self.size), step, out)

    def samples_of(self, x: jax.Array, chunk: tuple) -> jax.Array:
        """The samples of ``x`` under a chunk's frames."""
        return jax.lax.dynamic_slice_in_dim(x, chunk[1] * self.hop_length, self.span, axis=-1)

    def add_samples(self, x: jax.Array, samples: jax.Array, chunk: tuple) -> jax.Array:
        """``x`` with a chunk's samples added."""
        start = chunk[1] * self.hop_length
        total = self.samples_of(x, chunk) + samples
        return jax.lax.dynamic_update_slice_in_dim(x, total, start, axis=-1)

    def rows_of(self, s: jax.Array, chunk: tuple) -> jax.Array:
        """A chunk's rows of ``s``."""
        return jax.lax.dynamic_slice_in_dim(s, chunk[1], self.size, axis=-2)

    def put_rows(self, s: jax.Array, rows: jax.Array, chunk: tuple) -> jax.Array:
        """``s`` with a chunk's rows replaced."""
        return jax.lax.dynamic_update_slice_in_dim(s, rows, chunk[1], axis=-2)

    def only_new(self, rows: jax.Array, chunk: tuple) -> jax.Array:
        """A chunk's rows, zero where an earlier chunk has them too."""
        index, first = chunk
        is_new = first + jnp.arange(self.size) >= index * self.size
        return jnp.where(expand(is_new[:, None], rows.ndim - 1), rows, 0)

    def on_frames(self, function: Callable) -> Callable[[jax.Array], jax.Array]:
        """``function(frame(x))`` as a function of a chunk's samples."""
        return lambda x: function(
            frame(x, frame_length=self.frame_length, hop_length=self.hop_length)
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _map_frames(function: Callable, chunks: _Chunks, x: jax.Array) -> jax.Array:
    plain = chunks.on_frames(function)
    row = jax.eval_shape(plain, x[..., : chunks.span])
    out = _zeros(x[..., None], (chunks.frames, row.shape[-1]), row.dtype)
    return chunks.loop(
        lambda chunk, out: chunks.put_rows(out, plain(chunks.samples_of(x, chunk)), chunk), out
    )


def _map_frames_forward(function: Callable, chunks: _Chunks, x: jax.Array) -> tuple:
    if chunks.keep:
        return jax.vjp(chunks.on_frames(function), x)
    return _map_frames(function, chunks, x), x


def _map_frames_backward(
    function: Callable, chunks: _Chunks, residuals: Any, cotangent: jax.Array
) -> tuple[jax.Array]:
    if chunks.keep:
        return residuals(cotangent)
    x = residuals

    def body(chunk: tuple, out: jax.Array) -> jax.Array:
        pull = jax.vjp(chunks.on_frames(function), chunks.samples_of(x, chunk))[1]
        rows = chunks.only_new(chunks.rows_of(cotangent, chunk), chunk)
        return chunks.add_samples(out, pull(rows)[0], chunk)

    return (chunks.loop(body, jnp.zeros_like(x)),)


_map_frames.defvjp(_map_frames_forward, _map_frames_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _map_overlap_add(function: Callable, chunks: _Chunks, s: jax.Array) -> jax.Array:
    def body(chunk: tuple, out: jax.Array) -> jax.Array:
        frames = chunks.only_new(function(chunks.rows_of(s, chunk)), chunk)
        return chunks.add_samples(out, overlap_add(frames, hop_length=chunks.hop_length), chunk)

    dtype = jax.eval_shape(function, s[..., :1, :]).dtype
    return chunks.loop(body, _zeros(s[..., 0], (chunks.samples,), dtype))


def _map_overlap_add_backward(
    function: Callable, chunks: _Chunks, s: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array]:
    def body(chunk: tuple, out: jax.Array) -> jax.Array:
        pull = jax.vjp(function, chunks.rows_of(s, chunk))[1]
        frames = chunks.on_frames(lambda frames: frames)(chunks.samples_of(cotangent, chunk))
        return chunks.put_rows(out, pull(frames)[0], chunk)

    return (chunks.loop(body, jnp.zeros_like(s)),)


_map_overlap_add.defvjp(
    lambda *arguments: (_map_overlap_add(*arguments), arguments[-1]), _map_overlap_add_backward
)
