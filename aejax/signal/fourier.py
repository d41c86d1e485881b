"""Discrete Fourier transforms, as those of `jax.numpy.fft`.

XLA takes 15 seconds and more to compile an FFT for a TPU. There, a transform of n = a b values,
each of a and b at most `_MOST_ROWS`, is two products with matrices, of the same values to -115 dB.
Source: Cooley and Tukey, "An algorithm for the machine calculation of complex Fourier series",
1965.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from aejax.signal.framing import expand
from aejax.signal.products import EXACT

_LANES = 128  # numbers in a row of a TPU's registers
_MOST_ROWS = 512  # larger products take longer to compile


def rfft(x: Float[Array, "*shape"], *, axis: int = -1) -> Complex[Array, "*spectrum"]:
    """The spectrum of ``n`` real values, ``n // 2 + 1`` bins."""
    n = x.shape[axis]

    def by_products(x: jax.Array) -> jax.Array:
        return jax.lax.complex(*(part[..., : n // 2 + 1] for part in _dft(x)))

    return _by_platform(by_products, jnp.fft.rfft, x, n, axis)


def irfft(s: Complex[Array, "*spectrum"], n: int, *, axis: int = -1) -> Float[Array, "*shape"]:
    """``n`` real values of a spectrum of ``n // 2 + 1`` bins."""

    def by_products(s: jax.Array) -> jax.Array:
        # The real part of half of the spectrum, with twice each bin that has a mirror image.
        scale = np.full(s.shape[-1], 2 / n, s.real.dtype)
        scale[[0, -1] if n % 2 == 0 else [0]] = 1 / n
        width = [(0, 0)] * (s.ndim - 1) + [(0, n - s.shape[-1])]
        real, imag = (jnp.pad(x * expand(scale, x.ndim), width) for x in (s.real, s.imag))
        return _dft(real, -imag)[0]

    return _by_platform(by_products, functools.partial(jnp.fft.irfft, n=n), s, n, axis)


def fft(z: Complex[Array, "*shape"]) -> Complex[Array, "*shape"]:
    """The spectrum of complex values along the last axis."""

    def by_products(z: jax.Array) -> jax.Array:
        return jax.lax.complex(*_dft(z.real, z.imag))

    return _by_platform(by_products, jnp.fft.fft, z, z.shape[-1], -1)


def _by_platform(
    by_products: Callable, by_fft: Callable, x: jax.Array, n: int, axis: int
) -> jax.Array:
    """A transform of ``n`` values along ``axis``; ``by_products`` takes the last."""
    by_fft = _by_rows(functools.partial(by_fft, axis=axis))
    if max(_factors(n)) > _MOST_ROWS:
        return by_fft(x)
    return jax.lax.platform_dependent(
        x,
        tpu=lambda x: jnp.moveaxis(by_products(jnp.moveaxis(x, axis, -1)), -1, axis),
        default=by_fft,
    )


def _by_rows(function: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """The function, of each device's rows where the axis "batch" of a mesh in context shards them:
    XLA would gather all rows on each device (https://github.com/openxla/xla/issues/24)."""
    mesh = jax.sharding.get_abstract_mesh()
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    if types.get("batch") != jax.sharding.AxisType.Auto or mesh.shape["batch"] == 1:
        return function
    mapped = jax.shard_map(function, in_specs=jax.P("batch"), out_specs=jax.P("batch"))

    def apply(x: jax.Array) -> jax.Array:
        return function(x) if x.ndim == 1 or x.shape[0] % mesh.shape["batch"] else mapped(x)

    return apply


def _factors(n: int) -> tuple[int, int]:
    """Two factors of ``n``: the second a row of `_LANES` if possible, else as near as can be."""
    if n % _LANES == 0:
        return n // _LANES, _LANES
    first = next(i for i in range(math.isqrt(n), 0, -1) if n % i == 0)
    return first, n // first


def _dft(real: jax.Array, imag: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part of the transform of the last axis; no ``imag`` is one of zeros."""
    n = real.shape[-1]
    first, second = _factors(n)
    # Value n is value (n // second, n % second), bin k is bin (k % first, k // first).
    parts = [x.reshape(*x.shape[:-1], first, second) for x in (real, imag) if x is not None]
    matrix = _rotation(first, real.dtype)[:, : first * len(parts)]
    x = jnp.concatenate(parts, axis=-2)
    x = jnp.einsum("ka,...ab->...kb", matrix, x, precision=EXACT)
    real, imag = x[..., :first, :], x[..., first:, :]
    cos, sin = (expand(x, real.ndim - 1) for x in _turns(first, second, n, x.dtype))
    x = jnp.concatenate([real * cos - imag * sin, real * sin + imag * cos], axis=-1)
    x = jnp.einsum("kb,...b->...k", _rotation(second, x.dtype), x, precision=EXACT)
    real, imag = (jnp.swapaxes(x, -1, -2) for x in (x[..., :second], x[..., second:]))
    return real.reshape(*real.shape[:-2], n), imag.reshape(*imag.shape[:-2], n)


def _rotation(n: int, dtype: jnp.dtype) -> np.ndarray:
    """The matrix from real parts, then imaginary parts, of ``n`` values to those of their bins."""
    cos, sin = _turns(n, n, n, dtype)
    return np.block([[cos, -sin], [sin, cos]])


def _turns(rows: int, columns: int, n: int, dtype: jnp.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of ``-2 pi row column / n``."""
    angle = -2 * np.pi / n * (np.outer(np.arange(rows), np.arange(columns)) % n)
    return np.cos(angle).astype(dtype), np.sin(angle).astype(dtype)
