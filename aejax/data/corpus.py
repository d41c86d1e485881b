"""A corpus: a table of clips, split into train, validation and test, and how to read them."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from aejax.data import labels
from aejax.data.audio_file import resampled_length
from aejax.data.names import nfc, value
from aejax.data.scan import Scan, matches
from aejax.data.table import SPLITS, Clips, Column, Strings
from aejax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a folder or a pack becomes a corpus: see ``config.data``.

    Attributes:
      sample_rate: Hz, of what is read.
      channels: one of `audio_file.CHANNEL_POLICIES`.
      include: glob patterns; a file counts if its path matches any.
      split_by: "file", or "folder" to keep each top-level folder in one split.
      split_seed: another one draws other files or folders.
      validation_fraction, test_fraction: of the files or folders.
      labels: a table of labels; "" for ``labels.csv``, ``.tsv`` or ``.parquet`` beside the audio.
      copies: whether a file that holds the same sound as an earlier one is a clip too.
      cache_bytes: of decoded audio kept in memory.
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
        """What follows the samples in the shape of what is read."""
        return (2,) if self.channels == "stereo" else ()


@runtime_checkable
class Corpus(Protocol):
    """What the loader and the report need to know of a corpus."""

    @property
    def title(self) -> str:
        """What to call it."""

    @property
    def clips(self) -> Clips:
        """All usable clips."""

    @property
    def skipped(self) -> Mapping[str, str]:
        """The reason by name, for each file that could not be used."""

    @property
    def warnings(self) -> Sequence[str]:
        """Lines about labels and patterns that are of no file."""

    @property
    def split_by(self) -> str:
        """What is in one split: "file" or "folder"."""

    @property
    def scanned(self) -> Scan | None:
        """What was found in its files, if it has any."""

    @property
    def sample_rate(self) -> int:
        """Hz, of what `read` returns."""

    @property
    def channel_shape(self) -> tuple[int, ...]:
        """``()``, or ``(2,)`` for stereo."""

    def read(self, clip: int, start: int, length: int) -> np.ndarray:
        """float32 ``[length, *channel_shape]`` of the clip of that index, from ``start`` on, in
        samples at ``sample_rate``; then silence.

        Raises:
          UnusableAudio: it cannot be read any more.
        """


def split_units(units: Sequence[str], validation: float, test: float, seed: int = 0) -> np.ndarray:
    """Which split each unit (a file or a folder) belongs to.

    A unit's place depends on a hash of its own name in NFC alone, so it stays where it is when
    others are added, and on a disk that spells it in NFD. Only where a split that has a fraction
    would stay empty, as with a handful of folders, does the unit of the lowest hash that is still
    in "train" move there.

    Args:
      units: names, each once.
      validation, test: the fractions of units to expect there.
      seed: another one gives another split.

    Returns:
      uint8, indices in `SPLITS`.
    """
    salt = f"\0{seed}" if seed else ""
    places = np.asarray(
        [
            int.from_bytes(
                hashlib.sha256((nfc(unit) + salt).encode("utf-8", "surrogateescape")).digest()[:8],
                "big",
            )
            / 2**64
            for unit in units
        ]
    )
    train, held_out, unseen = (SPLITS.index(name) for name in SPLITS)
    split = np.full(len(units), train, np.uint8)
    split[places < test + validation] = held_out
    split[places < test] = unseen
    for place, fraction in ((unseen, test), (held_out, validation)):
        rest = np.flatnonzero(split == train)
        if fraction > 0 and len(rest) and place not in split:
            split[rest[np.argmin(places[rest])]] = place
    return split


def duplicates(scanned: Scan) -> dict[int, int]:
    """Rows of usable files that hold the same sound as an earlier one: row to that one's."""
    rows = np.flatnonzero(scanned.usable())
    _, first, inverse = np.unique(
        scanned.facts["digest"][rows], return_index=True, return_inverse=True
    )
    first = first[inverse]
    again = np.flatnonzero(first != np.arange(len(rows)))
    return {int(rows[row]): int(rows[first[row]]) for row in again}


class Selection(NamedTuple):
    """Clips of the files that can be used.

    Attributes:
      clips: of them.
      rows: of each clip in the scan.
      skipped: the reason by name, for each file that is left out.
      labels: of all files, by their names.
      warnings: lines about labels and patterns that are of no file.
    """

    clips: Clips
    rows: np.ndarray
    skipped: dict[str, str]
    labels: labels.Table
    warnings: tuple[str, ...]


def select(scanned: Scan, root: Path, settings: Settings) -> Selection:
    """The clips in what was scanned, with their labels.

    Of files that hold the same sound the first by name is used, so that nothing is in two splits;
    all of them with ``settings.copies``.

    Args:
      scanned: all that is to be used.
      root: of the corpus.
      settings: see there.

    Raises:
      UserError: none can be used, or not split as wished; or a table of labels cannot be read, says
        two things of one file, or nothing of any.
    """
    skipped = scanned.skipped()
    same = {} if settings.copies else duplicates(scanned)
    skipped |= {
        scanned.names[row]: f"the same sound as {scanned.names[first]}"
        for row, first in same.items()
    }
    usable = scanned.usable()
    usable[list(same)] = False
    if not usable.any():
        name, reason = next(iter(skipped.items()))
        raise UserError(
            f"none of the {len(skipped)} audio files below {root} can be used;"
            f" the first, {name}: {reason}"
        )
    rows = np.flatnonzero(usable)
    files = scanned.names if usable.all() else scanned.names.take(rows)
    split, folders = _split(files, root, settings)
    columns = {"folder": folders} if (folders.values >= 0).any() else {}
    path = labels.find(root, settings.labels)
    table = labels.match(
        labels.load(path),
        scanned.audio_names(),
        root,
        lambda path: matches(path, settings.include),
    )
    columns |= table.columns(files)
    channel = np.full(len(rows), -1)
    if settings.channels == "each":
        place, channel = _each_channel(scanned.facts["channels"][rows].astype(np.int64))
        rows, split, files = rows[place], split[place], files.take(place)
        columns = {
            name: Column(column.categories, column.values[place])
            for name, column in columns.items()
        }
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
    warnings = [*table.warnings, *_without_files(settings.include, scanned.names)]
    if not settings.labels:
        warnings += _unread_tables(scanned.names, path)
    return Selection(clips, rows, skipped, table, tuple(warnings))


def _without_files(include: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    for pattern in include:
        if pattern != "*" and not any(matches(name, (pattern,)) for name in names):
            yield f"data.include: no file matches {pattern!r}"


def _unread_tables(names: Strings, read: Path | None) -> Iterator[str]:
    if b"labels." not in names.block.tobytes().lower():
        return
    own = read.name if read is not None else ""
    others = [
        name for name in names if name.rpartition("/")[2].lower() in labels.NAMES and name != own
    ]
    if others:
        which = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if others[3:] else "")
        yield (
            f"tables of labels that are not read: {which}; only {own or 'labels.csv'} in the"
            " corpus's own folder is"
        )


def _each_channel(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every channel of every file: the file's place and the channel, -1 for an only one."""
    place = np.repeat(np.arange(len(count)), count)
    channel = np.arange(len(place)) - np.repeat(np.cumsum(count) - count, count)
    channel[count[place] == 1] = -1
    return place, channel


def top_folder(file: str) -> str:
    """What is in one split where that goes by folder; a file beside the folders is by itself."""
    return nfc(file.partition("/")[0])


def _split(files: Sequence[str], root: object, settings: Settings) -> tuple[np.ndarray, Column]:
    """The split of each file, and its top-level folder."""
    names = [name.partition("/") for name in files]
    folders = Column.of(
        [value(folder) if slash else "" for folder, slash, _ in names], numbers=False
    )
    fractions = (settings.validation_fraction, settings.test_fraction, settings.split_seed)
    if settings.split_by == "file":
        return split_units(files, *fractions), folders
    if not folders.categories:
        raise UserError(
            f"data.split_by='folder' needs audio in sub-folders, and {root} has none;"
            " use data.split_by='file'"
        )
    units = [top_folder(name) for name in files]
    different = sorted(set(units))
    split = dict(zip(different, split_units(different, *fractions).tolist(), strict=True))
    return np.asarray([split[unit] for unit in units], np.uint8), folders


def check_splits(corpus: Corpus, excerpt: int) -> None:
    """Refuses a corpus that cannot be trained on with excerpts of that many samples.

    Raises:
      UserError: a split is empty, or every clip is shorter than an excerpt.
    """
    clips = corpus.clips
    empty = [split for split in SPLITS if not len(clips.of_split(split))]
    if empty:
        raise UserError(
            f"the corpus is too small for its splits: {len(clips)} usable clips leave"
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
    """Names of the usable files that differ between two scans, or are in one of them alone."""
    if now is not None and then is not None and _alike(now, then):
        return []
    facts = [{} if scanned is None else _contents(scanned) for scanned in (now, then)]
    names = facts[0].keys() | facts[1].keys()
    return sorted(name for name in names if facts[0].get(name) != facts[1].get(name))


def as_it_was(now: Scan, then: Scan) -> Scan:
    """The earlier scan, with the present size and time of the files whose sound is the same: those
    can be read, and all others count as changed."""
    place = {name: row for row, name in enumerate(now.names)}
    facts = then.facts.copy()
    for row, name in enumerate(then.names):
        new = place.get(name)
        if new is not None and now.facts["digest"][new] == facts["digest"][row]:
            for field in ("bytes", "modified_ns"):
                facts[field][row] = now.facts[field][new]
    return dataclasses.replace(then, facts=facts)


def _alike(one: Scan, other: Scan) -> bool:
    """Whether two scans are of the same files with the same sound: fast, where nothing changed."""
    return (
        np.array_equal(one.names.block, other.names.block)
        and np.array_equal(one.names.ends, other.names.ends)
        and np.array_equal(one.usable(), other.usable())
        and np.array_equal(one.facts["digest"], other.facts["digest"])
    )


def _contents(scanned: Scan) -> dict[str, tuple[int, int]]:
    rows = np.flatnonzero(scanned.usable()).tolist()
    frames, digests = scanned.facts["frames"].tolist(), scanned.facts["digest"].tolist()
    return {scanned.names[row]: (frames[row], digests[row]) for row in rows}
