"""Rows of audio ``[rows, samples, *channels]``: read, cut, resampled, one by one."""

from collections.abc import Callable

import numpy as np
import soxr

from aejax.data import audio_file
from aejax.inference.sizes import Read


def reader(audio: np.ndarray) -> Read:
    """What reads ``[rows, samples, *channels]``, with silence behind."""
    return lambda start, count: cut(audio, start, count)


def by_row(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """A function of arrays with one row, of each row by itself.

    So memory does not grow with the number of rows, and a row is the same to the last bit whatever
    is beside it: sums are in another order for another batch size, and a search for a phase
    (Griffin-Lim) makes differences of 0.1 of those in the seventh digit.
    """
    rows = [function(*(x[i : i + 1] for x in arrays)) for i in range(len(arrays[0]))]
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def within(part: slice, window: slice) -> slice:
    """A part of a sound, counted from the start of a window."""
    return slice(part.start - window.start, part.stop - window.start)


def cut(rows: np.ndarray, start: int, count: int) -> np.ndarray:
    """Samples of each row, with silence past the end."""
    found = rows[:, start : start + count]
    missing = count - found.shape[1]
    if not missing:
        return found
    return np.pad(found, [(0, 0), (0, missing), *[(0, 0)] * (found.ndim - 2)])


def resampled(rows: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Every row and channel at another rate."""
    if rate == wanted:
        return rows
    columns = np.moveaxis(rows, 1, 0).reshape(rows.shape[1], -1)
    changed = soxr.resample(columns, rate, wanted, "HQ")
    length = audio_file.resampled_length(rows.shape[1], rate, wanted)
    changed = audio_file.cut(changed, 0, length)
    return np.moveaxis(changed.reshape(length, len(rows), *rows.shape[2:]), 0, 1)
