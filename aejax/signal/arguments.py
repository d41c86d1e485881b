"""What the transforms ask of their arguments, checked when they are traced."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

Function = TypeVar("Function", bound=Callable)


def compiled(*arrays: str) -> Callable[[Function], Function]:
    """``jax.jit`` for a function whose keyword-only arguments are settings, not arrays.

    So that a transform is one compiled program also where it is called outside of `jit`: its
    intermediate values need no memory of their own, and nothing is traced twice.

    Args:
      arrays: those keyword-only arguments that are arrays after all.
    """

    def decorate(function: Function) -> Function:
        parameters = inspect.signature(function).parameters.values()
        settings = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - set(arrays)
        return jax.jit(function, static_argnames=sorted(settings))  # type: ignore[return-value]

    return decorate


def is_open(size: Any) -> bool:
    """Whether a size is a symbol, as in a function that is exported for arrays of any size."""
    return jax.export.is_symbolic_dim(size)


def check_integer(name: str, value: int, *, least: int = 1, most: int | None = None) -> None:
    """Raises ValueError unless ``value`` is a whole number from ``least`` to ``most``; a size that
    is left open for export is taken to be."""
    if is_open(value):
        return
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        rule = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} must be a whole number, {rule}; got {value!r}")


def check_real(name: str, x: jax.Array, *, ndim: int = 1) -> None:
    """Raises ValueError unless ``x`` is float32 or float64 with ``ndim`` dimensions or more.

    Integers are refused instead of scaled by a guess, and half precision because FFTs refuse it.
    """
    if x.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"{name} must be float32 (or float64), got {x.dtype}; convert it first")
    check_dimensions(name, x, ndim)


def check_dimensions(name: str, x: jax.Array, ndim: int) -> None:
    """Raises ValueError unless ``x`` has so many dimensions or more."""
    if x.ndim < ndim:
        raise ValueError(f"{name} must have at least {ndim} dimensions, got shape {x.shape}")


def check_signal(x: jax.Array) -> None:
    """Raises ValueError unless ``x`` is real audio of at least one sample."""
    check_real("x", x)
    if x.shape[-1] == 0:
        raise ValueError(f"x must have at least one sample, got shape {x.shape}")


def check_spectrum(s: jax.Array, n_fft: int) -> None:
    """Raises ValueError unless ``s`` is ``[..., frames, n_fft // 2 + 1]`` with frames in it."""
    if not jnp.issubdtype(s.dtype, jnp.inexact):
        raise ValueError(f"the spectrum must be of floating point, got {s.dtype}")
    if s.ndim < 2 or s.shape[-2] == 0 or s.shape[-1] != n_fft // 2 + 1:
        raise ValueError(
            f"n_fft={n_fft} makes [..., frames, {n_fft // 2 + 1}], the spectrum is {s.shape}"
        )


def check_level(name: str, value: float) -> None:
    """Raises ValueError unless ``value`` is a positive number of float32: a floor, a rate."""
    least, most = float(jnp.finfo(jnp.float32).tiny), float(jnp.finfo(jnp.float32).max)
    if not isinstance(value, int | float | np.number) or not least <= value <= most:
        raise ValueError(
            f"{name} must be above 0 and finite ({least:.2g} to {most:.2g}), got {value!r}"
        )


def check_choice(name: str, value: object, choices: tuple) -> None:
    """Raises ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}; known: {', '.join(map(repr, choices))}")


def frame_sizes(n_fft: int, hop_length: int | None, win_length: int | None) -> tuple[int, int]:
    """The hop and the window that these arguments of an STFT stand for, in samples.

    Raises:
      ValueError: a size is not a whole number above 0, the window is longer than the transform,
        or the hop is longer than the window, which would leave samples that no frame sees.
    """
    check_integer("n_fft", n_fft)
    win_length = n_fft if win_length is None else win_length
    check_integer("win_length", win_length, most=n_fft)
    hop_length = max(1, win_length // 4) if hop_length is None else hop_length
    check_integer("hop_length", hop_length)
    if hop_length > win_length:
        raise ValueError(
            f"hop_length={hop_length} is larger than win_length={win_length}:"
            " samples between the windows would be lost"
        )
    return hop_length, win_length
