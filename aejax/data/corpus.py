"""Corpora: tables of clips, split into train, validation and test, that can be read."""

import dataclasses
import functools
import hashlib
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from aejax.data import labels
from aejax.data.audio_file import resampled_length
from aejax.data.names import nfc, value
from aejax.data.scan import Scan, matches
from aejax.data.table import SPLITS, Clips, Column, Strings
from aejax.runtime import words
from aejax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of a corpus, see ``config.data``.

    Attributes:
      sample_rate: Hz, of the audio that is read.
      channels: one of `audio_file.CHANNEL_POLICIES`.
      include: glob patterns; a file is used if its path matches any.
      split_by: "file", or "folder" to keep each top-level folder in one split.
      split_seed: seed of the split.
      validation_fraction, test_fraction: fractions of the files or folders.
      labels: a table of labels; "" for ``labels.csv``, ``.tsv`` or ``.parquet`` beside the audio.
      copies: whether to use duplicates, files with the same sound as an earlier file.
      cache_bytes: size of the cache of decoded audio in memory.
    """

    sample_rate: int = 16_000
    channels: str = "mono"
    include: tuple[str, ...] = ("*",)
    split_by: str = "file"
    split_seed: int = 0
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    labels: str = ""
    copies: bool = False
    cache_bytes: int = 0

    @property
    def channel_shape(self) -> tuple[int, ...]:
        """Shape of one sample: ``()``, or ``(2,)`` for stereo."""
        return (2,) if self.channels == "stereo" else ()


@runtime_checkable
class Corpus(Protocol):
    """The interface of a corpus, for the loader and the report."""

    @property
    def title(self) -> str:
        """The corpus's name."""

    @property
    def clips(self) -> Clips:
        """All usable clips."""

    @property
    def skipped(self) -> Mapping[str, str]:
        """The reason why each unused file is left out, by name."""

    @property
    def warnings(self) -> Sequence[str]:
        """Lines about labels and patterns that match no file."""

    @property
    def split_by(self) -> str:
        """The unit of the split: "file" or "folder"."""

    @property
    def scanned(self) -> Scan | None:
        """The scan of its files; None if it has none."""

    @property
    def sample_rate(self) -> int:
        """Hz, of what `read` returns."""

    @property
    def channel_shape(self) -> tuple[int, ...]:
        """``()``, or ``(2,)`` for stereo."""

    def read(self, clip: int, start: int, length: int) -> np.ndarray:
        """An excerpt of the clip of that index, float32 ``[length, *channel_shape]``, ``start``
        and ``length`` in samples at ``sample_rate``; silence past the end.

        Raises:
          UnusableAudio: the clip can no longer be read.
        """


def split_units(units: Sequence[str], validation: float, test: float, seed: int = 0) -> np.ndarray:
    """The split of each unit (a file or a folder).

    A unit's split depends only on a hash of its name in NFC: it does not change when others are
    added, nor on a disk that spells names in NFD. If a split with a fraction above 0 would be
    empty, as with a handful of folders, the unit of the lowest hash in "train" moves there.

    Args:
      units: distinct names.
      validation, test: expected fractions of the units.
      seed: of the hash.

    Returns:
      uint8, indices in `SPLITS`.
    """
    salt = f"\0{seed}" if seed else ""

    def position(unit: str) -> float:
        text = (nfc(unit) + salt).encode("utf-8", "surrogateescape")
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64

    hashes = np.fromiter(map(position, units), np.float64, len(units))
    train, validation_index, test_index = (SPLITS.index(name) for name in SPLITS)
    split = np.full(len(units), train, np.uint8)
    split[hashes < test + validation] = validation_index
    split[hashes < test] = test_index
    for index, fraction in ((test_index, test), (validation_index, validation)):
        rest = np.flatnonzero(split == train)
        if fraction > 0 and len(rest) and index not in split:
            split[rest[np.argmin(hashes[rest])]] = index
    return split


def duplicates(scanned: Scan) -> dict[int, int]:
    """Rows of duplicates among the usable files, mapped to the row of the first with that sound."""
    rows = np.flatnonzero(scanned.usable())
    _, first, inverse = np.unique(
        scanned.facts["digest"][rows], return_index=True, return_inverse=True
    )
    first = first[inverse]
    repeated = np.flatnonzero(first != np.arange(len(rows)))
    return {int(rows[row]): int(rows[first[row]]) for row in repeated}


class Selection(NamedTuple):
    """Clips of the usable files.

    Attributes:
      clips: the table of clips.
      rows: row in the scan of each clip's file.
      skipped: the reason why each unused file is left out, by name.
      labels: of all files, by their names.
      warnings: lines about labels and patterns that match no file.
    """

    clips: Clips
    rows: np.ndarray
    skipped: dict[str, str]
    labels: labels.Table
    warnings: tuple[str, ...]


def select(scanned: Scan, root: Path, settings: Settings) -> Selection:
    """The clips of a scan, with their splits and labels.

    Of files with the same sound only the first by name is used, so that no sound is in two splits;
    ``settings.copies`` uses all of them.

    Args:
      scanned: the files.
      root: the corpus's folder.
      settings: see `Settings`.

    Raises:
      UserError: no file is usable, or they cannot be split by folder; or the table of labels cannot
        be read, contradicts itself, or matches no file.
    """
    rows, skipped = _usable_rows(scanned, root, settings)
    files = scanned.names if len(rows) == len(scanned.names) else scanned.names.take(rows)
    split, folders = _split(files, root, settings)
    path = labels.find(root, settings.labels)
    table = labels.match(
        labels.load(path),
        scanned.audio_names(),
        root,
        lambda name: matches(name, settings.include),
    )
    columns = ({"folder": folders} if folders.categories else {}) | table.columns(files)
    channel = np.full(len(rows), -1)
    if settings.channels == "each":
        file_rows, channel = _each_channel(scanned.facts["channels"][rows].astype(np.int64))
        rows, split, files = rows[file_rows], split[file_rows], files.take(file_rows)
        columns = {name: column.take(file_rows) for name, column in columns.items()}
    facts = scanned.facts[rows]
    rates = facts["sample_rate"].astype(np.int64)
    clips = Clips(
        files=files,
        frames=facts["frames"],
        sample_rate=rates,
        channels=facts["channels"],
        channel=channel,
        samples=resampled_length(facts["frames"], rates, settings.sample_rate),
        split=split,
        labels=columns,
    )
    warnings = [*table.warnings, *_unmatched_patterns(settings.include, scanned.names)]
    if not settings.labels:
        warnings += _unread_tables(scanned.names, path)
    return Selection(clips, rows, skipped, table, tuple(warnings))


def _usable_rows(
    scanned: Scan, root: Path, settings: Settings
) -> tuple[np.ndarray, dict[str, str]]:
    """Rows of the files to use, and the reason by name for each of the others."""
    copies = {} if settings.copies else duplicates(scanned)
    skipped = scanned.skipped() | {
        scanned.names[row]: f"the same sound as {scanned.names[first]}"
        for row, first in copies.items()
    }
    usable = scanned.usable()
    usable[list(copies)] = False
    if not usable.any():
        name, reason = next(iter(skipped.items()))
        raise UserError(
            f"of {words.count(len(skipped), 'audio file')} below {root}, none can be used;"
            f" the first, {name}: {reason}"
        )
    return np.flatnonzero(usable), skipped


def _unmatched_patterns(include: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    for pattern in include:
        if pattern != "*" and not any(matches(name, (pattern,)) for name in names):
            yield f"data.include: no file matches {pattern!r}"


def _unread_tables(names: Strings, read: Path | None) -> Iterator[str]:
    if b"labels." not in names.block.tobytes().lower():
        return
    used = read.name if read is not None else ""
    others = [
        name for name in names if name.rpartition("/")[2].lower() in labels.NAMES and name != used
    ]
    if others:
        which = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if others[3:] else "")
        yield (
            f"tables of labels that are not read: {which}; only {used or 'labels.csv'} in the"
            " corpus folder is used"
        )


def _each_channel(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every channel of every file, the file's row and the channel; -1 if it is the only one."""
    rows = np.repeat(np.arange(len(count)), count)
    channel = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    channel[count[rows] == 1] = -1
    return rows, channel


def top_folder(file: str) -> str:
    """The unit of a file in a split by folder: its top-level folder, or the file itself."""
    return nfc(file.partition("/")[0])


_partition = operator.methodcaller("partition", "/")


def _split(files: Sequence[str], root: object, settings: Settings) -> tuple[np.ndarray, Column]:
    """The split of each file, and its top-level folder."""
    shared = functools.cache(value)  # one string for each folder, not for each file
    cells = [shared(folder) if slash else "" for folder, slash, _ in map(_partition, files)]
    folders = Column.of(cells, numbers=False)
    fractions = (settings.validation_fraction, settings.test_fraction, settings.split_seed)
    if settings.split_by == "file":
        return split_units(files, *fractions), folders
    if not folders.categories:
        raise UserError(
            f"data.split_by='folder' needs audio in sub-folders, and {root} has none;"
            " use data.split_by='file'"
        )
    units = [top_folder(name) for name in files]
    distinct = sorted(set(units))
    split = dict(zip(distinct, split_units(distinct, *fractions).tolist(), strict=True))
    return np.asarray([split[unit] for unit in units], np.uint8), folders


def check_splits(corpus: Corpus, excerpt: int) -> None:
    """Raises if a corpus cannot be trained on with excerpts of that many samples.

    Raises:
      UserError: a split is empty, or every clip is shorter than an excerpt.
    """
    clips = corpus.clips
    empty = [split for split in SPLITS if not len(clips.of_split(split))]
    if empty:
        raise UserError(
            f"the corpus is too small for its splits:"
            f" {words.count(len(clips), 'usable clip')}, which leaves"
            f" {' and '.join(empty)} empty; add audio, or change data.split_by,"
            " data.validation_fraction or data.test_fraction"
        )
    longest = int(np.argmax(clips.samples))
    if clips.samples[longest] < excerpt:
        raise UserError(
            f"every clip is shorter than an excerpt of {excerpt / corpus.sample_rate:.2f} s (the"
            f" longest, {clips.name(longest)}, has {clips[longest].seconds:.2f} s); lower"
            " data.excerpt_seconds"
        )


def changes(now: Scan | None, then: Scan | None) -> list[str]:
    """Names of the usable files that differ between two scans or are in only one of them."""
    if now is not None and then is not None and _same_sounds(now, then):
        return []
    facts = [{} if scanned is None else _contents(scanned) for scanned in (now, then)]
    names = facts[0].keys() | facts[1].keys()
    return sorted(name for name in names if facts[0].get(name) != facts[1].get(name))


def restore_scan(now: Scan, then: Scan) -> Scan:
    """The earlier scan, with the current size and time of files whose sound is unchanged.

    Only those can be read; all others count as changed."""
    present = {name: row for row, name in enumerate(now.names)}
    facts = then.facts.copy()
    for row, name in enumerate(then.names):
        new = present.get(name)
        if new is not None and now.facts["digest"][new] == facts["digest"][row]:
            for field in ("bytes", "modified_ns"):
                facts[field][row] = now.facts[field][new]
    return dataclasses.replace(then, facts=facts)


def _same_sounds(first: Scan, second: Scan) -> bool:
    """Whether two scans hold the same files with the same sounds; fast if so."""
    return (
        np.array_equal(first.names.block, second.names.block)
        and np.array_equal(first.names.ends, second.names.ends)
        and np.array_equal(first.usable(), second.usable())
        and np.array_equal(first.facts["digest"], second.facts["digest"])
    )


def _contents(scanned: Scan) -> dict[str, tuple[int, int]]:
    rows = np.flatnonzero(scanned.usable()).tolist()
    frames, digests = scanned.facts["frames"].tolist(), scanned.facts["digest"].tolist()
    return {scanned.names[row]: (frames[row], digests[row]) for row in rows}
