"""Resampling inside a compiled program."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aejax.signal.arguments import check_integer, check_real, check_signal, compiled
from aejax.signal.framing import fit_length, map_frames
from aejax.signal.mel import matmul
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
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(width, 0)])
    x = fit_length(x, (frames - 1) * down + frame_length)
    y = map_frames(
        lambda frame: matmul(frame, filters), x, frame_length=frame_length, hop_length=down
    )
    return y.reshape(*y.shape[:-2], frames * up)[..., :samples]


@compiled()
def play_at_speed(
    x: Float[Array, "*batch samples"],
    speed: Float[Array, "*batch"],
    offset: Int[Array, "*batch"],
    *,
    length: int,
    num_taps: int = 32,
) -> Float[Array, "*batch length"]:
    """Each signal at its own speed, which also changes pitch: ``y[n] = x(offset + n * speed)``.

    Interpolation is by a windowed sinc over ``num_taps`` samples; a speed of 1 changes nothing, and
    above 1 frequencies over the new Nyquist frequency are removed. The signal is silent outside of
    its samples. All positions are exact to 2**-32 of a sample for ``speed`` in float32.

    Source: Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/; the window
    is Hann's.

    Args:
      x: audio.
      speed: of each, above 0.
      offset: first sample of each in ``x``.
      length: output samples, at most 2**24.
      num_taps: samples of ``x`` for each output; even.

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
    speed = speed[..., None]
    position, fraction = _positions(speed, offset[..., None], length, x.dtype)
    return _interpolated(x, position, fraction, jnp.minimum(1.0, 1 / speed), num_taps)


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


def _interpolated(
    x: jax.Array, position: jax.Array, fraction: jax.Array, cutoff: jax.Array, num_taps: int
) -> jax.Array:
    """``x(position + fraction)`` by a windowed sinc; ``cutoff`` in units of the Nyquist rate."""
    half = num_taps // 2
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)])
    angle, turn = jnp.pi * cutoff, jnp.pi / half
    sine, cosine = jnp.sin(angle * fraction), jnp.cos(angle * fraction)
    bell_sine, bell_cosine = jnp.sin(turn * fraction), jnp.cos(turn * fraction)
    total, weights = jnp.zeros_like(fraction), jnp.zeros_like(fraction)
    for tap in range(1 - half, half + 1):
        # sin and cos of (fraction - tap), by the addition theorem: four of each for all taps.
        distance = fraction - tap
        numerator = sine * jnp.cos(angle * tap) - cosine * jnp.sin(angle * tap)
        near = jnp.abs(distance) < 1e-6
        sinc = jnp.where(near, cutoff, numerator / (jnp.pi * jnp.where(near, 1.0, distance)))
        bell = bell_cosine * math.cos(turn * tap) + bell_sine * math.sin(turn * tap)
        weight = sinc * (0.5 + 0.5 * bell)
        index = jnp.clip(position + (half + tap), 0, padded.shape[-1] - 1)
        total = total + weight * jnp.take_along_axis(padded, index, axis=-1)
        weights = weights + weight
    return total / weights
