"""Functions of rows of audio, ``[rows, samples, *channels]``."""

from collections.abc import Callable

import numpy as np
import soxr

from aejax.data import audio_file
from aejax.inference.sizes import Read


def reader(audio: np.ndarray) -> Read:
    """A function that reads from audio ``[rows, samples, *channels]`` with silence after it."""
    return lambda start, count: cut(audio, start, count)


def by_row(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """Applies a function to one row of the arrays at a time; concatenates the results.

    Memory does not grow with the number of rows, and no row affects another: another batch size
    changes the order of sums, and Griffin-Lim turns differences in the seventh digit into 0.1.
    """
    rows = [function(*(x[i : i + 1] for x in arrays)) for i in range(len(arrays[0]))]
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def within(part: slice, window: slice) -> slice:
    """A slice of a sound, with indices relative to the start of a window."""
    return slice(part.start - window.start, part.stop - window.start)


def cut(rows: np.ndarray, start: int, count: int) -> np.ndarray:
    """Samples of each row, with silence past the end."""
    part = rows[:, start : start + count]
    missing = count - part.shape[1]
    if not missing:
        return part
    return np.pad(part, [(0, 0), (0, missing), *[(0, 0)] * (part.ndim - 2)])


def resampled(rows: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Rows resampled from one rate to another, in Hz."""
    if rate == new_rate:
        return rows
    columns = np.moveaxis(rows, 1, 0).reshape(rows.shape[1], -1)
    changed = soxr.resample(columns, rate, new_rate, "HQ")
    length = audio_file.resampled_length(rows.shape[1], rate, new_rate)
    changed = audio_file.cut(changed, 0, length)
    return np.moveaxis(changed.reshape(length, len(rows), *rows.shape[2:]), 0, 1)
