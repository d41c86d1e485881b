"""Window functions, computed on the host as constants of the compiled program."""

from collections.abc import Callable

import numpy as np

from aejax.signal.arguments import MOST_SAMPLES, check_integer

# A name, or a name and its parameter, as scipy.signal.get_window takes them.
Window = str | tuple[str, float]


def rectangular(length: int) -> np.ndarray:
    """Ones."""
    return np.ones(length)


def gaussian(length: int, std: float) -> np.ndarray:
    """``exp(-t**2 / (2 std**2))``, t in samples from the middle."""
    t = np.arange(length) - (length - 1) / 2
    return np.exp(-0.5 * (t / std) ** 2)


def sine(length: int) -> np.ndarray:
    """``sin(pi (n + 1/2) / length)``, the MDCT's plain window."""
    return np.sin(np.pi * (np.arange(length) + 0.5) / length)


def kaiser_bessel_derived(length: int, beta: float) -> np.ndarray:
    """Root of the running sum of a Kaiser window; AAC has beta = 4 pi.

    Source: Fielder et al., "AC-2 and AC-3: low-complexity transform-based audio coding",
    AES Collected Papers on Digital Audio Bit-Rate Reduction, 1996.
    """
    running = np.cumsum(np.kaiser(length // 2 + 1, beta))
    rising = np.sqrt(running[:-1] / running[-1])
    return np.concatenate([rising, rising[::-1]])


PLAIN: dict[str, Callable[[int], np.ndarray]] = {
    "hann": np.hanning,
    "hamming": np.hamming,
    "blackman": np.blackman,
    "rectangular": rectangular,
    "sine": sine,
}
WITH_PARAMETER: dict[str, Callable[[int, float], np.ndarray]] = {
    "kaiser": np.kaiser,
    "gaussian": gaussian,
    "kbd": kaiser_bessel_derived,
}
# Largest beta for which a Kaiser window is in the range of float64.
MOST_BETA = 700
# Only symmetric; both are for transforms, not for filter design.
ALREADY_SYMMETRIC = ("sine", "kbd")


def window(
    name: Window, win_length: int, *, periodic: bool = True, n_fft: int | None = None
) -> np.ndarray:
    """The window ``name``, as ``scipy.signal.get_window``, centred in ``n_fft`` as in librosa.

    Args:
      name: "hann", "hamming", "blackman", "rectangular" or "sine"; or, with a parameter,
        ``("kaiser", beta)``, ``("gaussian", std)`` with std in samples, or ``("kbd", beta)``
        (Kaiser-Bessel derived, for the MDCT).
      win_length: samples.
      periodic: True for spectral analysis; False, symmetric, for filter design. "sine" and "kbd"
        are always symmetric.
      n_fft: samples of the result, the window padded with zeros on both sides; ``win_length`` by
        default.

    Returns:
      float64 ``[n_fft]``.

    Raises:
      ValueError: the name is unknown, its parameter is missing, unexpected or not above 0, the
        window does not fit in ``n_fft``, a "kbd" window has an odd length, or all of it is zero.
    """
    n_fft = win_length if n_fft is None else n_fft
    check_integer("n_fft", n_fft, most=MOST_SAMPLES)
    check_integer("win_length", win_length, most=n_fft)
    make = _maker(name)
    if name[0] == "kbd" and win_length % 2:
        raise ValueError(f"win_length must be even for window {name!r}, got {win_length}")
    if win_length == 1:
        values = np.ones(1)
    elif periodic and name not in ALREADY_SYMMETRIC and name[0] not in ALREADY_SYMMETRIC:
        values = make(win_length + 1)[:-1]
    else:
        values = make(win_length)
    if periodic and not values.any():
        raise ValueError(f"window {name!r} of win_length={win_length} is zero everywhere")
    before = (n_fft - win_length) // 2
    return np.pad(values, (before, n_fft - win_length - before))


def _maker(name: Window) -> Callable[[int], np.ndarray]:
    if isinstance(name, str) and name in PLAIN:
        return PLAIN[name]
    if isinstance(name, tuple) and len(name) == 2 and name[0] in WITH_PARAMETER:
        key, parameter = name
        most = float("inf") if key == "gaussian" else MOST_BETA
        is_number = isinstance(parameter, int | float | np.number)
        if not is_number or not 0 < parameter <= most or parameter == float("inf"):
            raise ValueError(
                f"window {name!r}: the parameter must be above 0 and finite, for Kaiser windows"
                f" at most {MOST_BETA}"
            )
        return lambda length: WITH_PARAMETER[key](length, parameter)
    known = [*map(repr, PLAIN), *(f'("{key}", parameter)' for key in WITH_PARAMETER)]
    raise ValueError(f"unknown window {name!r}; known: {', '.join(known)}")
