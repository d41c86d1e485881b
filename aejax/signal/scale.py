"""Between linear power and decibels."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def power_to_db(x: Float[Array, "*shape"], *, floor: float = 1e-10) -> Float[Array, "*shape"]:
    """``10 log10(max(x, floor))``, in dB re 1: ``librosa.power_to_db(x, amin=floor, top_db=None)``.

    Args:
      x: power (of the signal's squared unit).
      floor: power below which all is silence; above 0. Its level, ``10 log10(floor)`` dB, is what
        silence gives.
    """
    if floor <= 0:
        raise ValueError(f"floor must be above 0, got {floor}")
    return 10 * jnp.log10(jnp.maximum(x, floor))


def db_to_power(db: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``10 ** (db / 10)``: the inverse of `power_to_db` above its floor."""
    return jnp.power(10.0, db / 10)


def db_to_amplitude(db: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """``10 ** (db / 20)``: a level in dB as a factor on amplitudes."""
    return jnp.power(10.0, db / 20)
