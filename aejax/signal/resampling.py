"""Resampling inside a compiled program."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aejax.signal.arguments import check_integer, check_real, check_signal, compiled
from aejax.signal.framing import fit_length, frame, map_frames
from aejax.signal.products import matmul
from aejax.signal.windows import MOST_BETA

# Numbers in the table of filters, 64 MB in float32.
MOST_TAPS = 2**24


@compiled()
def resample(
    x: Float[Array, "*batch samples"],
    *,
    orig_sr: int,
    target_sr: int,
    num_zeros: int = 64,
    rolloff: float = 0.9476,
    beta: float = 14.77,
) -> Float[Array, "*batch resampled"]:
    """Resampling by the rational factor ``target_sr / orig_sr``, with a windowed sinc.

    To change speed and pitch by 11/10, resample from 11 to 10. The filter has linear phase and
    no delay. In units of the lower of the two Nyquist frequencies it is within 0.01 dB up to 0.87
    and attenuates by more than 120 dB from 1.03.

    Source: Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/; the
    default filter is resampy's "kaiser_best".

    Args:
      x: audio.
      orig_sr, target_sr: rates in Hz, or any two whole numbers of the same ratio.
      num_zeros: samples of the lower rate on either side of the filter's centre; more are slower,
        with a sharper cutoff.
      rolloff: -6 dB point of the filter, in units of the lower Nyquist frequency.
      beta: of the Kaiser window; a larger one attenuates more outside of the band.

    Returns:
      ``[..., ceil(samples * target_sr / orig_sr)]``.

    Raises:
      ValueError: an argument is invalid, or the terms of the reduced ratio are so large that the
        table of filters would take more than 64 MB.
    """
    check_signal(x)
    check_integer("orig_sr", orig_sr)
    check_integer("target_sr", target_sr)
    check_integer("num_zeros", num_zeros)
    if not 0 < beta <= MOST_BETA:
        raise ValueError(f"beta must be above 0 and at most {MOST_BETA}, got {beta!r}")
    if not 0 < rolloff <= 1:
        raise ValueError(f"rolloff must be above 0 and at most 1, got {rolloff!r}")
    divisor = math.gcd(orig_sr, target_sr)
    down, up = orig_sr // divisor, target_sr // divisor
    if down == up:
        return x
    width = math.ceil(num_zeros * max(1.0, down / up))
    if (2 * width + down) * up > MOST_TAPS:
        raise ValueError(
            f"orig_sr={orig_sr} to target_sr={target_sr} is {up}/{down}, which takes {up} filters"
            f" of {2 * width + down} samples; choose rates with a larger common divisor"
        )
    filters = _filters(down, up, width, num_zeros, rolloff, beta).astype(x.dtype)
    return _filtered(x, filters, down, width)


def _filters(
    down: int, up: int, width: int, num_zeros: int, rolloff: float, beta: float
) -> np.ndarray:
    """float64 ``[2 * width + down, up]``: column p is the filter of output p."""
    ratio = min(1.0, up / down)
    position = np.arange(up) * (down / up)
    time = (np.arange(-width, width + down)[:, None] - position) * ratio
    inside = np.maximum(0, 1 - np.square(time / num_zeros))
    taper = np.where(np.abs(time) <= num_zeros, np.i0(beta * np.sqrt(inside)) / np.i0(beta), 0)
    return ratio * rolloff * np.sinc(rolloff * time) * taper


def _filtered(x: jax.Array, filters: np.ndarray, down: int, width: int) -> jax.Array:
    """``[..., ceil(samples * up / down)]``, by the ``filters`` ``[2 * width + down, up]``."""
    frame_length, up = filters.shape
    samples = math.ceil(x.shape[-1] * up / down)
    frames = math.ceil(samples / up)
    # Frame t has the inputs of outputs t * up to (t + 1) * up - 1.
    x = fit_length(_pad(x, width, 0), (frames - 1) * down + frame_length)
    y = map_frames(
        lambda frame: matmul(frame, filters), x, frame_length=frame_length, hop_length=down
    )
    return y.reshape(*y.shape[:-2], frames * up)[..., :samples]


# Outputs of a block, and samples between windows, of `_by_blocks`: with 32 taps and speeds up to
# 1.6 its windows have 128 samples, a tile of a TPU.
_BLOCK = 32


@compiled()
def play_at_speed(
    x: Float[Array, "*batch samples"],
    speed: Float[Array, "*batch"],
    offset: Int[Array, "*batch"],
    *,
    length: int,
    num_taps: int = 32,
    max_speed: float = 4.0,
) -> Float[Array, "*batch length"]:
    """Each signal at its own speed, which also changes pitch: ``y[n] = x(offset + n * speed)``.

    Interpolation is by a windowed sinc over ``num_taps`` samples; a speed of 1 changes nothing, and
    above 1 frequencies over the new Nyquist frequency are removed. The signal is silent outside of
    its samples. All positions are exact to 2**-32 of a sample for ``speed`` in float32.

    Source: Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/; the window
    is Hann's. A TPU, where reading single samples is slow, multiplies blocks of samples with a
    banded matrix instead; the sound is the same to -80 dB.

    Args:
      x: audio.
      speed: of each, above 0 and at most ``max_speed``.
      offset: first sample of each in ``x``.
      length: output samples, at most 2**24.
      num_taps: samples of ``x`` for each output; even.
      max_speed: highest speed; a higher one takes more memory on a TPU.

    Raises:
      ValueError: an argument is invalid.
    """
    check_signal(x)
    check_real("speed", speed, ndim=0)
    if not jnp.issubdtype(offset.dtype, jnp.integer):
        raise ValueError(f"offset must be whole numbers, got {offset.dtype}")
    check_integer("length", length, most=2**24)
    check_integer("num_taps", num_taps)
    if num_taps % 2:
        raise ValueError(f"num_taps must be even, got {num_taps}")
    if not 0 < max_speed < 2**16:
        raise ValueError(f"max_speed must be above 0 and below 65536, got {max_speed!r}")
    position, fraction = _positions(speed[..., None], offset[..., None], length, x.dtype)
    cutoff = jnp.minimum(1.0, 1 / speed)[..., None]
    window = math.ceil(_BLOCK * max_speed) + num_taps
    return jax.lax.platform_dependent(
        x,
        position,
        fraction,
        cutoff,
        tpu=functools.partial(_by_blocks, num_taps=num_taps, window=window),
        default=functools.partial(_by_taps, num_taps=num_taps),
    )


def _positions(
    speed: jax.Array, offset: jax.Array, length: int, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array]:
    """``offset + n * speed`` for n below ``length``: the nearest sample, and the remainder."""
    n = jnp.arange(length, dtype=jnp.uint32).reshape((1,) * (speed.ndim - 1) + (length,))
    whole = jnp.floor(speed)
    # Products with 32 fractional bits wrap around at whole samples: no digit is lost.
    part = ((speed - whole) * 2.0**32).astype(jnp.uint32)
    fraction = (part * n).astype(dtype) * 2.0**-32
    steps = jnp.round(n.astype(dtype) * (speed - whole) - fraction).astype(jnp.int32)
    return offset + n.astype(jnp.int32) * whole.astype(jnp.int32) + steps, fraction


def _by_taps(
    x: jax.Array, position: jax.Array, fraction: jax.Array, cutoff: jax.Array, *, num_taps: int
) -> jax.Array:
    """``x(position + fraction)`` by a windowed sinc, one tap after the other.

    Args:
      x: ``[..., samples]``.
      position, fraction: ``[..., length]``, of each output.
      cutoff: ``[..., 1]``, in units of the Nyquist rate.
      num_taps: samples of ``x`` for each output.
    """
    half = num_taps // 2
    padded = _pad(x, half, half)
    total, weights = jnp.zeros_like(fraction), jnp.zeros_like(fraction)
    kernel = _Kernel(fraction, cutoff, half)
    for tap in range(1 - half, half + 1):
        weight = kernel.at(np.asarray(tap))
        index = jnp.clip(position + (half + tap), 0, padded.shape[-1] - 1)
        total = total + weight * jnp.take_along_axis(padded, index, axis=-1)
        weights = weights + weight
    return total / weights


def _by_blocks(
    x: jax.Array,
    position: jax.Array,
    fraction: jax.Array,
    cutoff: jax.Array,
    *,
    num_taps: int,
    window: int,
) -> jax.Array:
    """As `_by_taps`, without a gather: a block of outputs is a window of ``x`` times a banded
    matrix, and a product with a one-hot matrix selects the windows.

    Args:
      x, position, fraction, cutoff, num_taps: as for `_by_taps`.
      window: samples under a block of outputs.
    """
    half, length = num_taps // 2, fraction.shape[-1]
    # Windows begin at multiples of a block, and the first ends before the signal.
    window = (1 + -(-window // _BLOCK)) * _BLOCK
    before = window // _BLOCK
    count = before + -(-x.shape[-1] // _BLOCK)
    padded = _pad(x, window, (count - 1) * _BLOCK - x.shape[-1])
    windows = frame(padded, frame_length=window, hop_length=_BLOCK)
    position, fraction = (
        _pad(v, 0, -length % _BLOCK).reshape(*v.shape[:-1], -1, _BLOCK)
        for v in (position, fraction)
    )
    first = (position[..., :1] - half + 1) // _BLOCK
    select = jax.nn.one_hot(first[..., 0] + before, count, dtype=x.dtype)
    # Counted from the middle of the window: sines of smaller numbers are more precise.
    centre = (position - first * _BLOCK - window // 2).astype(x.dtype) + fraction
    kernel = _Kernel(centre[..., None], cutoff[..., None, None], half)
    weights = kernel.at(np.arange(window) - window // 2)  # [..., blocks, outputs, window]
    y = (weights * matmul(select, windows)[..., None, :]).sum(-1) / weights.sum(-1)
    return y.reshape(*y.shape[:-2], -1)[..., :length]


class _Kernel:
    """A windowed sinc at ``centre``: by the addition theorem, with the sines of each centre alone.

    Args:
      centre: float, any shape.
      cutoff: in units of the Nyquist rate; broadcast against ``centre``.
      half: samples on either side.
    """

    def __init__(self, centre: jax.Array, cutoff: jax.Array, half: int):
        self._centre, self._cutoff, self._half = centre, cutoff, half
        self._angle, self._turn = jnp.pi * cutoff, math.pi / half
        self._sinc = jnp.sin(self._angle * centre), jnp.cos(self._angle * centre)
        self._bell = jnp.sin(self._turn * centre), jnp.cos(self._turn * centre)

    def at(self, taps: np.ndarray) -> jax.Array:
        """The weights of whole numbers, of shape ``[taps]`` or ``[]``, along the last axis."""
        dtype = self._centre.dtype
        turns, rows = self._turn * taps, (1,) * (self._centre.ndim - 1) if taps.ndim else ()
        turn_sine, turn_cosine, taps = (
            v.astype(dtype).reshape(rows + taps.shape) for v in (np.sin(turns), np.cos(turns), taps)
        )
        distance = self._centre - taps
        sine, cosine = self._sinc
        numerator = sine * jnp.cos(self._angle * taps) - cosine * jnp.sin(self._angle * taps)
        # The quotient of two numbers near zero is not precise: its Taylor series.
        near = jnp.abs(distance) < 0.1
        squared = jnp.square(self._angle * distance)
        series = self._cutoff * (1 - squared / 6 * (1 - squared / 20))
        sinc = jnp.where(near, series, numerator / (jnp.pi * jnp.where(near, 1.0, distance)))
        sine, cosine = self._bell
        bell = cosine * turn_cosine + sine * turn_sine
        weight = sinc * (0.5 + 0.5 * bell)
        return jnp.where(jnp.abs(distance) < self._half, weight, 0.0) if taps.ndim else weight


def _pad(x: jax.Array, before: int, after: int) -> jax.Array:
    """``x`` with values of zero before and after its last axis."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)])
