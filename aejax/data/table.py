"""Tables of clips as columns of NumPy arrays, small even for a million rows."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.runtime import arrays
from aejax.runtime.errors import UserError

_MOST_BYTES = 1 << 32  # of a table of all files of a corpus: some 30 million
REMEDY = "delete it to have it rebuilt"
SPLITS = ("train", "validation", "test")


class Strings(Sequence[str]):
    """A sequence of strings in one block of bytes; they may have bytes that are not UTF-8.

    Args:
      block: uint8, their concatenation.
      ends: int64, the end of each in ``block``.
    """

    def __init__(self, block: np.ndarray, ends: np.ndarray):
        self.block, self.ends = block, ends
        self._bytes = np.ascontiguousarray(block).data

    @classmethod
    def of(cls, strings: Sequence[str]) -> "Strings":
        """Packs a sequence of strings."""
        encoded = [string.encode("utf-8", "surrogateescape") for string in strings]
        return cls(**arrays.pack_bytes(encoded))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self.ends):
            raise IndexError(index)
        start = int(self.ends[index - 1]) if index else 0
        return bytes(self._bytes[start : int(self.ends[index])]).decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in map(int, self.ends):
            yield bytes(self._bytes[start:end]).decode("utf-8", "surrogateescape")
            start = end

    def take(self, indices: np.ndarray) -> "Strings":
        """The strings of these rows."""
        starts, ends = np.concatenate([[0], self.ends])[indices], self.ends[indices]
        ranges = zip(starts.tolist(), ends.tolist(), strict=True)
        block = b"".join(self._bytes[start:end] for start, end in ranges)
        return Strings(np.frombuffer(block, np.uint8), np.cumsum(ends - starts))

    def __reduce__(self) -> Any:
        return Strings, (self.block, self.ends)


@dataclasses.dataclass(frozen=True)
class Column:
    """The values of one label for all rows.

    Attributes:
      categories: the distinct values, or None if ``values`` are numbers.
      values: int32 indices of categories, -1 for a missing one; or float64, NaN for a missing one.
    """

    categories: tuple[str, ...] | None
    values: np.ndarray

    @classmethod
    def of(cls, cells: Sequence[str], *, numbers: bool = True) -> "Column":
        """The column of these cells: numbers if all non-empty cells are finite numbers, else
        categories.

        Whole numbers with at most 100 distinct values (speakers, classes, folds) are categories,
        and so are all cells if ``numbers`` is False.
        """
        distinct = {cell for cell in cells if cell}
        numbers = numbers and bool(distinct) and all(map(_is_number, distinct))
        if numbers and (len(distinct) > 100 or not all(map(_is_whole, distinct))):
            return cls(None, np.asarray([float(cell) if cell else np.nan for cell in cells]))
        categories = sorted(distinct)
        indices = {category: index for index, category in enumerate(categories)}
        return cls(
            tuple(categories), np.asarray([indices.get(cell, -1) for cell in cells], np.int32)
        )

    def take(self, rows: np.ndarray) -> "Column":
        """The column of these rows."""
        return Column(self.categories, self.values[rows])

    def present(self) -> np.ndarray:
        """Mask of the rows with a value, bool."""
        return ~np.isnan(self.values) if self.categories is None else self.values >= 0

    def at(self, row: int) -> str | float | None:
        """The value of a row; None if it is missing."""
        value = self.values[row]
        if self.categories is None:
            return None if np.isnan(value) else float(value)
        return None if value < 0 else self.categories[value]


def _is_whole(cell: str) -> bool:
    return cell.lstrip("-").isdecimal()


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


@dataclasses.dataclass(frozen=True)
class Clip:
    """One row of `Clips`.

    Attributes:
      name: its path below the corpus, followed by the channel if each is a clip; or a generated
        name for a synthetic clip.
      frames: its length in samples at its own rate.
      sample_rate: its own rate, Hz.
      channels: number of channels of its file.
      samples: its length in samples at the corpus's rate.
      split: one of `SPLITS`.
      labels: its labels by name.
    """

    name: str
    frames: int
    sample_rate: int
    channels: int
    samples: int
    split: str
    labels: dict[str, str | float]

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


@dataclasses.dataclass(frozen=True)
class Clips(Sequence[Clip]):
    """All clips of a corpus.

    Attributes:
      files: the name of each clip's file.
      frames, sample_rate, channels, samples: see `Clip`.
      channel: index of the channel of the file; -1 for all channels.
      split: index in `SPLITS`.
      labels: columns by name.
    """

    files: Strings
    frames: np.ndarray
    sample_rate: np.ndarray
    channels: np.ndarray
    channel: np.ndarray
    samples: np.ndarray
    split: np.ndarray
    labels: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.frames)

    def name(self, index: int) -> str:
        """The name of a clip, see `Clip`."""
        channel = int(self.channel[index])
        return self.files[index] + (f"[{channel + 1}]" if channel >= 0 else "")

    def __getitem__(self, index: Any) -> Any:
        labels = {name: column.at(index) for name, column in self.labels.items()}
        return Clip(
            name=self.name(index),
            frames=int(self.frames[index]),
            sample_rate=int(self.sample_rate[index]),
            channels=int(self.channels[index]),
            samples=int(self.samples[index]),
            split=SPLITS[self.split[index]],
            labels={name: value for name, value in labels.items() if value is not None},
        )

    def of_split(self, split: str) -> np.ndarray:
        """Indices of the clips in a split, int64."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    def seconds(self) -> np.ndarray:
        """Duration of each clip."""
        return self.frames / self.sample_rate


def save_arrays(path: Path, columns: Mapping[str, np.ndarray | Strings]) -> None:
    """Writes arrays and strings as ``.npz``, atomically."""
    content: dict[str, np.ndarray] = {}
    for name, value in columns.items():
        if isinstance(value, Strings):
            content |= {f"{name}.block": value.block, f"{name}.ends": value.ends}
        else:
            content[name] = value
    arrays.save(path, {}, content)


def load_arrays(path: Path, *, remedy: str = REMEDY) -> dict[str, Any]:
    """The arrays and strings in a file written by `save_arrays`.

    Raises:
      UserError: the file is damaged.
    """
    _, loaded = arrays.load(path, _MOST_BYTES, remedy=remedy)
    columns: dict[str, Any] = {}
    for name, value in loaded.items():
        stem, _, part = name.rpartition(".")
        if part == "block":
            ends = loaded.get(f"{stem}.ends")
            if ends is None or not arrays.are_packed(value, ends):
                raise UserError(f"{path} is damaged (no table of strings); {remedy}")
            columns[stem] = Strings(value, ends)
        elif part != "ends":
            columns[name] = value
    return columns
