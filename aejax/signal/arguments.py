"""Checks of the transforms' arguments, at trace time."""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

Function = TypeVar("Function", bound=Callable)

MOST_SAMPLES = 2**24  # of a window; 128 MB in float64


def compiled(*arrays: str) -> Callable[[Function], Function]:
    """``jax.jit`` for a function whose keyword-only arguments are settings, not arrays.

    Outside of `jit` a transform is then one compiled program too: it needs no memory for
    intermediate values, and is traced once.

    Args:
      arrays: keyword-only arguments that are arrays.
    """

    def decorate(function: Function) -> Function:
        parameters = inspect.signature(function).parameters.values()
        settings = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - set(arrays)
        return jax.jit(function, static_argnames=sorted(settings))  # type: ignore[return-value]

    return decorate


def checked(function: Function) -> Function:
    """The function with its arguments converted to the annotated types.

    Numbers of NumPy, arrays without dimensions and integral floats become Python's ``int`` or
    ``float``, lists become tuples. Other types raise a ValueError that names the argument.
    """
    signature = inspect.signature(function)
    kinds = {name: _kinds(parameter.annotation) for name, parameter in signature.parameters.items()}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            bound.arguments[name] = _plain(name, value, kinds[name])
        return function(*bound.args, **bound.kwargs)

    return typing.cast(Function, call)


def _kinds(annotation: Any) -> tuple:
    """The members of a union; otherwise the annotation itself."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _plain(name: str, value: Any, kinds: tuple) -> Any:
    if (value is None and type(None) in kinds) or is_symbolic(value):
        return value
    takes_arrays = any(kind is jax.Array or hasattr(kind, "array_type") for kind in kinds)
    takes_numbers = int in kinds or float in kinds
    if np.ndarray in kinds and isinstance(value, list | tuple):
        value = _as_array(name, value)
    if takes_arrays and _is_numeric_array(value) and not (takes_numbers and _is_scalar(value)):
        return _of_kind(name, value, kinds)
    if takes_numbers:
        return plain_number(name, value, is_whole=float not in kinds)
    if bool in kinds and not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {_shown(value)}")
    if takes_arrays:
        raise ValueError(f"{name} must be an array of numbers, got {_shown(value)}")
    items = next((typing.get_args(k) for k in kinds if typing.get_origin(k) is tuple), ())
    if items[-1:] == (...,):
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} must be a tuple of numbers, got {_shown(value)}")
        return tuple(plain_number(f"each of {name}", x, is_whole=items[0] is int) for x in value)
    if isinstance(value, list) and items:
        value = tuple(value)
    try:
        hash(value)
    except TypeError:
        raise ValueError(f"{name} must be a setting, got {_shown(value)}") from None
    return value


def _of_kind(name: str, value: Any, kinds: tuple) -> Any:
    """The array, checked to have an annotated dtype."""
    dtypes = {dtype for kind in kinds for dtype in getattr(kind, "dtypes", ())}
    if not dtypes:
        return value
    kind = jnp.dtype(value.dtype).kind
    if dtypes <= {"bool", "bool_"} and kind != "b":
        raise ValueError(f"{name} must be an array of booleans, got {_shown(value)}")
    if all("int" in dtype for dtype in dtypes) and kind not in "iu":
        raise ValueError(f"{name} must be an array of whole numbers, got {_shown(value)}")
    return value


def _as_array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (ValueError, TypeError):
        raise ValueError(f"{name} must be numbers, got {_shown(values)}") from None


def _is_scalar(value: Any) -> bool:
    """Whether a value is a NumPy scalar, not an array that may be traced."""
    return isinstance(value, np.generic | np.ndarray) and value.ndim == 0


def _is_numeric_array(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biufcV"  # V: bfloat16 and its like
    return isinstance(value, jax.Array)


def plain_number(name: str, value: Any, *, is_whole: bool = False) -> int | float:
    """A number or scalar array as Python's ``int`` or ``float``.

    Args:
      name: of the argument, for the message.
      value: anything.
      is_whole: whether it must be whole; 44100.0 is.

    Raises:
      ValueError: it is no number, NaN, or not whole.
    """
    rule = f"{name} must be a {'whole ' * is_whole}number"
    number = value
    if isinstance(value, np.generic | np.ndarray | jax.Array) and value.ndim == 0:
        try:
            number = value.item()
        except jax.errors.ConcretizationTypeError:
            raise ValueError(f"{rule} that is known at compile time") from None
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number:
        raise ValueError(f"{rule}, got {_shown(value)}")
    if not is_whole:
        return number
    if isinstance(number, float) and not (number.is_integer() and abs(number) < 2**53):
        raise ValueError(f"{rule}, got {_shown(value)}")
    return int(number)


def whole_number(name: str, value: Any, *, least: int, most: int) -> int:
    """A whole number of any type in a range, as ``int``.

    Raises:
      ValueError: it is not whole or out of range.
    """
    number = plain_number(name, value, is_whole=True)
    if not least <= number <= most:
        raise ValueError(f"{name} must be {least:,} to {most:,}, got {_shown(value)}")
    return int(number)


def _shown(value: Any) -> str:
    """The value in one line of bounded length."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{type(value).__name__} {text[:40]}..."


def is_symbolic(size: Any) -> bool:
    """Whether a size is symbolic, as in export for arrays of any size."""
    return jax.export.is_symbolic_dim(size)


def check_integer(name: str, value: int, *, least: int = 1, most: int | None = None) -> None:
    """Raises ValueError unless ``value`` is a whole number from ``least`` to ``most``; symbolic
    sizes pass."""
    if is_symbolic(value):
        return
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        rule = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} must be a whole number, {rule}; got {_shown(value)}")


def check_real(name: str, x: jax.Array, *, ndim: int = 1) -> None:
    """Raises ValueError unless ``x`` is float32 or float64 with ``ndim`` dimensions or more.

    Integers have an unknown scale, and FFTs do not support half precision.
    """
    if x.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"{name} must be float32 (or float64), got {x.dtype}; convert it first")
    check_dimensions(name, x, ndim)


def check_dimensions(name: str, x: jax.Array, ndim: int) -> None:
    """Raises ValueError unless ``x`` has at least ``ndim`` dimensions."""
    if x.ndim < ndim:
        raise ValueError(f"{name} must have at least {ndim} dimensions, got shape {x.shape}")


def check_signal(x: jax.Array) -> None:
    """Raises ValueError unless ``x`` is real audio of at least one sample."""
    check_real("x", x)
    if x.shape[-1] == 0:
        raise ValueError(f"x must have at least one sample, got shape {x.shape}")


def check_spectrum(s: jax.Array, n_fft: int) -> None:
    """Raises ValueError unless ``s`` is ``[..., frames, n_fft // 2 + 1]``, not empty."""
    if not jnp.issubdtype(s.dtype, jnp.inexact):
        raise ValueError(f"the spectrum must be floating-point, got {s.dtype}")
    if s.ndim < 2 or s.shape[-2] == 0 or s.shape[-1] != n_fft // 2 + 1:
        raise ValueError(
            f"n_fft={n_fft} needs [..., frames, {n_fft // 2 + 1}], the spectrum is {s.shape}"
        )


def check_level(name: str, value: float) -> None:
    """Raises ValueError unless ``value`` is positive and a normal float32."""
    least, most = float(jnp.finfo(jnp.float32).tiny), float(jnp.finfo(jnp.float32).max)
    if not isinstance(value, int | float | np.number) or not least <= value <= most:
        raise ValueError(
            f"{name} must be above 0 and finite ({least:.2g} to {most:.2g}), got {_shown(value)}"
        )


def check_choice(name: str, value: object, choices: tuple) -> None:
    """Raises ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"unknown {name} {_shown(value)}; known: {', '.join(map(repr, choices))}")


def frame_sizes(n_fft: int, hop_length: int | None, win_length: int | None) -> tuple[int, int]:
    """Hop and window length of an STFT in samples, with defaults filled in.

    Raises:
      ValueError: a size is not a whole number above 0, the window is longer than the transform,
        or the hop is longer than the window, which would skip samples.
    """
    check_integer("n_fft", n_fft, most=MOST_SAMPLES)
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
