"""Per-channel energy normalisation: automatic gain control and compression in every band."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aejax.signal.arguments import check_integer, check_level, check_real, compiled


@compiled()
def pcen(
    s: Float[Array, "*batch frames bands"],
    *,
    sample_rate: float,
    hop_length: int,
    gain: float = 0.98,
    bias: float = 2.0,
    power: float = 0.5,
    time_constant: float = 0.4,
    floor: float = 1e-6,
) -> Float[Array, "*batch frames bands"]:
    """``(s / (floor + m) ** gain + bias) ** power - bias ** power``, m being s smoothed in time.

    Agrees with ``librosa.pcen`` (which calls ``floor`` eps). The defaults, librosa's,
    are for magnitude spectrograms of audio between ``-2**31`` and ``2**31``; scale by that first.
    m is a first-order filter, ``m[t] = (1 - b) m[t-1] + b s[t]``, with m[-1] = 1 as in librosa.

    Source: Wang et al., "Trainable frontend for robust and far-field keyword spotting",
    ICASSP 2017, equations 1 and 2; b from the time constant as in Lostanlen et al., "Per-channel
    energy normalization: why and how", IEEE Signal Processing Letters 26(1), 2019.

    Args:
      s: mel or linear magnitude or power, 0 or above.
      sample_rate: Hz.
      hop_length: samples from frame to frame.
      gain: 0 or above; 1 removes the level completely.
      bias: above 0, in the unit of the ratio.
      power: above 0; the exponent of the compression.
      time_constant: of m, seconds.
      floor: in the unit of ``s``, above 0; divisor of silence.

    Raises:
      ValueError: an argument is invalid.
    """
    check_real("s", s, ndim=2)
    check_level("sample_rate", sample_rate)
    check_integer("hop_length", hop_length)
    if not 0 <= gain < float("inf"):
        raise ValueError(f"gain must be 0 or above, got {gain!r}")
    for name, value in (("bias", bias), ("power", power), ("floor", floor)):
        check_level(name, value)
    check_level("time_constant", time_constant)
    frames = time_constant * sample_rate / hop_length
    b = float((np.sqrt(1 + 4 * frames**2) - 1) / (2 * frames**2))
    smooth = smooth_in_time(s, b, before=1.0)
    normal = jnp.exp(-gain * jnp.log(floor + smooth))
    return bias**power * jnp.expm1(power * jnp.log1p(s * normal / bias))


def smooth_in_time(
    s: Float[Array, "*batch frames bands"], rate: float, *, before: float
) -> Float[Array, "*batch frames bands"]:
    """``m[t] = (1 - rate) m[t-1] + rate s[t]``, with ``m[-1]`` equal to ``before``.

    By an associative scan, with a number of passes logarithmic in the number of frames.
    """

    def then(first: tuple, second: tuple) -> tuple:
        return first[0] * second[0], second[0] * first[1] + second[1]

    # Each step is the map m -> decay * m + addend; the scan composes them.
    decay = jnp.full((s.shape[-2], 1), 1 - rate, s.dtype)
    decay = jnp.broadcast_to(decay, s.shape)
    decay, addend = jax.lax.associative_scan(then, (decay, rate * s), axis=s.ndim - 2)
    return decay * before + addend
