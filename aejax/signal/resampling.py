"""Another sample rate, inside the compiled program."""

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
    delays nothing. In units of the lower of the two Nyquist frequencies it is within 0.01 dB up to
    0.87 and by more than 120 dB down from 1.03.

    Source: Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/; the
    default filter is resampy's "kaiser_best".

    Args:
      x: audio.
      orig_sr, target_sr: rates in Hz, or any two whole numbers of the same ratio.
      num_zeros: samples of the lower rate on either side of the filter's middle; a larger number
        makes its edge sharper, and takes longer.
      rolloff: where the filter has fallen by 6 dB, in units of the lower Nyquist frequency.
      beta: of the Kaiser window; the more, the less passes outside of the band.

    Returns:
      ``[..., ceil(samples * target_sr / orig_sr)]``.

    Raises:
      ValueError: an argument is not as said, or the reduced ratio has so large terms that the table
        of filters would take more than 64 MB.
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
    samples = math.ceil(x.shape[-1] * up / down)
    frames = math.ceil(samples / up)
    # Frame t holds what the outputs t * up to (t + 1) * up - 1 depend on.
    x = jax.numpy.pad(x, [(0, 0)] * (x.ndim - 1) + [(width, 0)])
    x = fit_length(x, (frames - 1) * down + 2 * width + down)
    y = map_frames(
        lambda frame: matmul(frame, filters), x, frame_length=2 * width + down, hop_length=down
    )
    return y.reshape(*y.shape[:-2], frames * up)[..., :samples]


def _filters(
    down: int, up: int, width: int, num_zeros: int, rolloff: float, beta: float
) -> np.ndarray:
    """float64 ``[2 * width + down, up]``: column p makes output p out of the samples around it."""
    ratio = min(1.0, up / down)
    place = np.arange(up) * (down / up)
    time = (np.arange(-width, width + down)[:, None] - place) * ratio
    inside = np.maximum(0, 1 - np.square(time / num_zeros))
    taper = np.where(np.abs(time) <= num_zeros, np.i0(beta * np.sqrt(inside)) / np.i0(beta), 0)
    return ratio * rolloff * np.sinc(rolloff * time) * taper


@compiled()
def play_at_speed(
    x: Float[Array, "*batch samples"],
    speed: Float[Array, "*batch"],
    offset: Int[Array, "*batch"],
    *,
    length: int,
    num_taps: int = 32,
) -> Float[Array, "*batch length"]:
    """Each signal at a speed of its own, pitch and all: ``y[n] = x(offset + n * speed)``.

    Between samples a windowed sinc is laid through ``num_taps`` of them, so that a speed of 1
    changes nothing; above 1 it lets through what lies below the new Nyquist frequency. Outside of
    the signal there is silence. Positions are exact to 2**-32 of a sample for ``speed`` as it is
    in float32, from the first to the last.

    Source: Smith, "Digital audio resampling", https://ccrma.stanford.edu/~jos/resample/; the window
    is Hann's.

    Args:
      x: audio.
      speed: of each, above 0.
      offset: the sample of ``x`` that each begins with.
      length: samples to put out, at most 2**24.
      num_taps: samples of ``x`` that each output depends on; even.

    Raises:
      ValueError: an argument is not as said.
    """
    check_signal(x)
    check_real("speed", speed, ndim=0)
    if not jnp.issubdtype(offset.dtype, jnp.integer):
        raise ValueError(f"offset must be whole numbers, got {offset.dtype}")
    check_integer("length", length, most=2**24)
    check_integer("num_taps", num_taps)
    if num_taps % 2:
        raise ValueError(f"num_taps must be even, got {num_taps}")
    half = num_taps // 2
    n = jnp.arange(length, dtype=jnp.uint32).reshape((1,) * speed.ndim + (length,))
    speed, offset = speed[..., None], offset[..., None]
    whole = jnp.floor(speed)
    # Products with 32 fractional bits wrap around where a whole sample is full: no digit is lost.
    part = ((speed - whole) * 2.0**32).astype(jnp.uint32)
    fraction = (part * n).astype(x.dtype) * 2.0**-32
    steps = jnp.round(n.astype(x.dtype) * (speed - whole) - fraction).astype(jnp.int32)
    place = offset + n.astype(jnp.int32) * whole.astype(jnp.int32) + steps
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)])
    cutoff = jnp.minimum(1.0, 1 / speed)
    angle, turn = jnp.pi * cutoff, jnp.pi / half
    sine, cosine = jnp.sin(angle * fraction), jnp.cos(angle * fraction)
    bell_sine, bell_cosine = jnp.sin(turn * fraction), jnp.cos(turn * fraction)
    total, weights = jnp.zeros_like(fraction), jnp.zeros_like(fraction)
    for tap in range(1 - half, half + 1):
        # sin and cos of (fraction - tap), by the theorem of addition: four of each for all taps.
        distance = fraction - tap
        numerator = sine * jnp.cos(angle * tap) - cosine * jnp.sin(angle * tap)
        near = jnp.abs(distance) < 1e-6
        sinc = jnp.where(near, cutoff, numerator / (jnp.pi * jnp.where(near, 1.0, distance)))
        bell = bell_cosine * math.cos(turn * tap) + bell_sine * math.sin(turn * tap)
        weight = sinc * (0.5 + 0.5 * bell)
        index = jnp.clip(place + (half + tap), 0, padded.shape[-1] - 1)
        total = total + weight * jnp.take_along_axis(padded, index, axis=-1)
        weights = weights + weight
    return total / weights
