"""Frequency weightings of loudness: the A and K curves."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aejax.signal.arguments import check_real

Frequencies = float | np.ndarray | Float[Array, "*shape"]

# IEC 61672-1: the poles of the A curve in Hz, and its gain, for 0 dB at 1 kHz.
_A_POLES = (20.598997, 107.65265, 737.86223, 12194.217)
_A_GAIN_DB = 2.0

# ITU-R BS.1770-4, tables 1 and 2: numerator and denominator at 48 kHz of a shelf for the effect of
# the head, and of a high-pass.
_K_RATE = 48000
_K_FILTERS = (
    (
        (1.53512485958697, -2.69169618940638, 1.19839281085285),
        (-1.69065929318241, 0.73248077421585),
    ),
    ((1.0, -2.0, 1.0), (-1.99004745483398, 0.99007225036621)),
)


def a_weighting(hz: Frequencies, *, min_db: float | None = -80.0) -> Frequencies:
    """A-weighting in dB at frequencies in Hz, as ``librosa.A_weighting``.

    Source: IEC 61672-1. Nearly 0 dB at 1 kHz.

    Args:
      hz: frequencies, 0 or above. JAX arrays give JAX arrays of their own type; all else is
        computed by numpy in float64.
      min_db: lower limit; None for none. 0 Hz is at some -1666 dB then.
    """
    xp, hz = _checked(hz)
    tiny = float(np.finfo(np.float32).tiny)
    squared = hz * hz
    low, second, third, high = (pole**2 for pole in _A_POLES)
    db = _A_GAIN_DB + 20 * (
        np.log10(high)
        + 2 * xp.log10(xp.maximum(squared, tiny))
        - xp.log10(squared + high)
        - xp.log10(squared + low)
        - 0.5 * xp.log10(squared + second)
        - 0.5 * xp.log10(squared + third)
    )
    return db if min_db is None else xp.maximum(db, min_db)


def k_weighting(hz: Frequencies, *, min_db: float | None = -80.0) -> Frequencies:
    """K-weighting in dB at frequencies in Hz, the weighting of loudness in LUFS.

    Source: ITU-R BS.1770-4, the two filters for 48 kHz, which hold at any sample rate.

    Args:
      hz: frequencies, 0 to 24,000. JAX arrays give JAX arrays of their own type; all else is
        computed by numpy in float64.
      min_db: lower limit; None for none. 0 Hz is at some -287 dB then.

    Raises:
      ValueError: a frequency is above 24 kHz; not checked for a traced array.
    """
    xp, hz = _checked(hz)
    if xp is np and np.any(hz > _K_RATE / 2):
        raise ValueError(f"hz must be at most {_K_RATE // 2}, got {np.max(hz):g}")
    tiny = float(np.finfo(np.float32).tiny)
    # Squared responses are polynomials in this, precise near 0 Hz too.
    half = xp.square(xp.sin(np.pi / _K_RATE * hz))
    db = 0.0 * half
    for numerator, (a1, a2) in _K_FILTERS:
        top, bottom = _squared_response(numerator, half), _squared_response((1.0, a1, a2), half)
        db = db + 10 * (xp.log10(xp.maximum(top, tiny)) - xp.log10(bottom))
    return db if min_db is None else xp.maximum(db, min_db)


def _checked(hz: Frequencies) -> tuple:
    """The array namespace, and the frequencies as its arrays."""
    if not isinstance(hz, jax.Array):
        return np, np.asarray(hz, np.float64)
    check_real("hz", hz, ndim=0)
    return jnp, hz


def _squared_response(taps: tuple[float, float, float], half: Frequencies) -> Frequencies:
    """``|b0 + b1 z + b2 z**2|**2`` on the unit circle, ``half`` being ``sin(w / 2)**2``."""
    b0, b1, b2 = taps
    constant = (b0 + b1 + b2) ** 2
    # For (1, -2, 1) these sums are 0 up to rounding.
    linear = -4 * (b0 * b1 + 4 * b0 * b2 + b1 * b2)
    return constant + (linear + 16 * b0 * b2 * half) * half
