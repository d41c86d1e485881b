"""Scales of level: decibels, natural logarithm, mu-law."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from aejax.signal.arguments import check_integer, check_level, check_real

Reference = float | Float[Array, "..."]


def power_to_db(
    x: Float[Array, "*shape"],
    *,
    reference: Reference = 1.0,
    floor: float = 1e-10,
    top_db: float | None = None,
) -> Float[Array, "*shape"]:
    """``10 log10(max(x, floor) / max(reference, floor))``, as ``librosa.power_to_db``.

    Args:
      x: power, in the squared unit of the signal, 0 or above.
      reference: the power at 0 dB; a number, or an array that broadcasts against ``x``, such as
        ``x.max()``.
      floor: power that counts as silence; above 0. librosa calls it ``amin``. Silence is at
        ``10 log10(floor)`` dB for a reference of 1.
      top_db: values are limited to this far below the maximum over the last two dimensions
        (in librosa over the whole array, and 80 by default); None for no limit.

    Raises:
      ValueError: ``floor``, ``top_db`` or a scalar ``reference`` is not above 0.
    """
    check_real("x", x, ndim=0)
    check_level("floor", floor)
    reference = jnp.maximum(_checked_reference(reference, x), floor)
    db = 10 * (jnp.log10(jnp.maximum(x, floor)) - jnp.log10(reference))
    if top_db is None:
        return db
    check_level("top_db", top_db)
    if db.size == 0:
        return db
    loudest = db.max(axis=tuple(range(-min(db.ndim, 2), 0)), keepdims=True)
    return jnp.maximum(db, loudest - top_db)


def amplitude_to_db(
    x: Float[Array, "*shape"],
    *,
    reference: Reference = 1.0,
    floor: float = 1e-5,
    top_db: float | None = None,
) -> Float[Array, "*shape"]:
    """``20 log10(max(x, floor) / max(reference, floor))``, as ``librosa.amplitude_to_db``.

    Arguments as for `power_to_db`, in the unit of the signal instead of its square; raises the
    same.
    """
    if top_db is not None:
        check_level("top_db", top_db)
    return 2 * power_to_db(
        x,
        reference=reference,
        floor=floor,
        top_db=None if top_db is None else top_db / 2,
    )


def db_to_power(
    db: Float[Array, "*shape"], *, reference: Reference = 1.0
) -> Float[Array, "*shape"]:
    """``reference * 10 ** (db / 10)``: the inverse of `power_to_db` above its floor."""
    check_real("db", db, ndim=0)
    return _checked_reference(reference, db) * jnp.power(10.0, db / 10)


def db_to_amplitude(
    db: Float[Array, "*shape"], *, reference: Reference = 1.0
) -> Float[Array, "*shape"]:
    """``reference * 10 ** (db / 20)``: a level in dB as a factor on amplitudes."""
    check_real("db", db, ndim=0)
    return _checked_reference(reference, db) * jnp.power(10.0, db / 20)


def _checked_reference(reference: Reference, x: jax.Array) -> jax.Array:
    if not isinstance(reference, jax.Array):
        check_level("reference", reference)
    return jnp.asarray(reference, x.dtype)


def natural_log(x: Float[Array, "*shape"], *, floor: float = 1e-5) -> Float[Array, "*shape"]:
    """``log(max(x, floor))``, in nepers for amplitudes; the log-mel of most vocoders.

    Args:
      x: amplitude or power, 0 or above.
      floor: in the unit of ``x``, above 0; silence is at ``log(floor)``.

    Raises:
      ValueError: ``floor`` is not above 0.
    """
    check_real("x", x, ndim=0)
    check_level("floor", floor)
    return jnp.log(jnp.maximum(x, floor))


def mu_compress(x: Float[Array, "*shape"], *, mu: float = 255.0) -> Float[Array, "*shape"]:
    """Mu-law compression of -1 to 1 onto itself, as ``librosa.mu_compress(quantize=False)``.

    ``sign(x) log(1 + mu |x|) / log(1 + mu)``, ITU-T G.711 for mu = 255. Its gradient is finite
    everywhere.

    Raises:
      ValueError: ``mu`` is not above 0.
    """
    check_real("x", x, ndim=0)
    check_level("mu", mu)
    return _odd(lambda size: jnp.log1p(mu * size), x) / float(np.log1p(mu))


def mu_expand(x: Float[Array, "*shape"], *, mu: float = 255.0) -> Float[Array, "*shape"]:
    """The inverse of `mu_compress`: ``sign(x) ((1 + mu) ** |x| - 1) / mu``; raises the same."""
    check_real("x", x, ndim=0)
    check_level("mu", mu)
    rate = float(np.log1p(mu))
    return _odd(lambda size: jnp.expm1(rate * size), x) / mu


def _odd(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """``sign(x) function(|x|)`` for a function with ``function(0) = 0``, differentiable at 0."""
    is_positive = x >= 0
    above, below = jnp.where(is_positive, x, 0), jnp.where(is_positive, 0, -x)
    return function(above) - function(below)


def mu_quantize(x: Float[Array, "*shape"], *, mu: int = 255) -> Int[Array, "*shape"]:
    """Mu-law in ``mu + 1`` steps, as ``librosa.mu_compress(quantize=True)``: 8 bits for mu = 255.

    Args:
      x: audio; values outside of -1 to 1 get the outermost step.
      mu: an odd number, so that there is an even number of steps.

    Returns:
      int32 from ``-(mu + 1) // 2`` to ``(mu + 1) // 2 - 1``; `mu_dequantize` is the inverse.

    Raises:
      ValueError: ``mu`` is not a whole odd number above 0.
    """
    _check_steps(mu)
    half = (mu + 1) // 2
    steps = jnp.ceil((mu_compress(x, mu=mu) + 1) * (mu / 2)) - half
    return jnp.clip(steps, -half, half - 1).astype(jnp.int32)


def mu_dequantize(steps: Int[Array, "*shape"], *, mu: int = 255) -> Float[Array, "*shape"]:
    """float32 audio from steps of `mu_quantize`, as ``librosa.mu_expand(quantize=True)``."""
    _check_steps(mu)
    return mu_expand(steps.astype(jnp.float32) * (2 / (1 + mu)), mu=mu)


def _check_steps(mu: int) -> None:
    check_integer("mu", mu)
    if mu % 2 == 0:
        raise ValueError(f"mu must be odd, for an even number of steps; got {mu}")
