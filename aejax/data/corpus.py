"""A corpus: a table of clips, split into train, validation and test, and how to read them."""

import collections
import concurrent.futures
import dataclasses
import fnmatch
import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from aejax.data import audio_file
from aejax.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Clip:
    """One recording.

    Attributes:
      name: its path below the corpus, or a made-up one for a synthetic clip.
      frames: samples in time, at its own rate.
      sample_rate: its own, in Hz.
      channels: its own.
      split: one of `SPLITS`.
      labels: what is known about it, by name.
    """

    name: str
    frames: int
    sample_rate: int
    channels: int
    split: str
    labels: dict[str, str | float]

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


@runtime_checkable
class Corpus(Protocol):
    """What the loader and the report need to know of a corpus."""

    @property
    def title(self) -> str:
        """What to call it."""

    @property
    def clips(self) -> Sequence[Clip]:
        """All usable clips."""

    @property
    def skipped(self) -> dict[str, str]:
        """The reason by name, for each file that could not be used."""

    @property
    def sample_rate(self) -> int:
        """Hz, of what `read` returns."""

    def read(self, clip: Clip, start: int, length: int, speed: float = 1.0) -> np.ndarray:
        """float32 ``[length]`` from ``start`` on, in samples at ``sample_rate``; then silence."""


def samples_of(corpus: Corpus, clip: Clip, speed: float = 1.0) -> int:
    """Samples a clip has at the corpus's rate, played at ``speed``."""
    rate = round(clip.sample_rate * speed)
    return audio_file.resampled_length(clip.frames, rate, corpus.sample_rate)


def split_units(units: Sequence[str], validation: float, test: float) -> dict[str, str]:
    """Which split each unit (a file or a folder) belongs to.

    A unit's place depends on a hash of its own name alone, so it stays where it is when others are
    added. Only where a split would stay empty, as with a handful of folders, does the unit of the
    lowest hash that is still in "train" move there.

    Args:
      units: names, each once.
      validation, test: the fractions of units to expect there.
    """

    def position(unit: str) -> float:
        digest = hashlib.sha256(unit.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    ordered = sorted(units, key=position)
    split = {}
    for unit in ordered:
        place = position(unit)
        split[unit] = (
            "test" if place < test else "validation" if place < test + validation else "train"
        )
    for name in ("test", "validation"):
        if name not in split.values():
            rest = [unit for unit in ordered if split[unit] == "train"]
            if rest:
                split[rest[0]] = name
    return split


class FolderCorpus:
    """All usable audio files below a folder.

    Corpora whose audio fits in ``cache_bytes`` once decoded are kept in memory as they are read;
    of larger ones each excerpt is read from its file.
    """

    def __init__(
        self,
        root: Path,
        clips: Sequence[Clip],
        skipped: dict[str, str],
        *,
        sample_rate: int,
        channels: str,
        cache_bytes: int,
    ):
        self.title = str(root)
        self.root = root
        self.clips = tuple(clips)
        self.skipped = skipped
        self.sample_rate = sample_rate
        self.channels = channels
        decoded = 4 * sum(samples_of(self, clip) for clip in self.clips)
        self._whole = functools.cache(self._decode) if decoded <= cache_bytes else None

    def _decode(self, clip_name: str, length: int) -> np.ndarray:
        return self._excerpt(clip_name, 0, length, 1.0)

    def _excerpt(self, clip_name: str, start: int, length: int, speed: float) -> np.ndarray:
        try:
            return audio_file.read_excerpt(
                self.root / clip_name,
                start,
                length,
                sample_rate=self.sample_rate,
                channels=self.channels,
                speed=speed,
            )
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{self.root / clip_name} was readable when the run began and is not any more"
                f" ({' '.join(str(error).split())}); put it back, or start a new run"
            ) from None

    def read(self, clip: Clip, start: int, length: int, speed: float = 1.0) -> np.ndarray:
        """See `Corpus.read`."""
        if self._whole is None:
            return self._excerpt(clip.name, start, length, speed)
        whole = self._whole(clip.name, samples_of(self, clip))
        return audio_file.resampled_excerpt(
            lambda first, count: whole[first : first + count],
            len(whole),
            round(self.sample_rate * speed),
            start,
            length,
            self.sample_rate,
        )


def scan(
    root: Path,
    *,
    sample_rate: int,
    channels: str = "mono",
    split_by: str = "file",
    include: Sequence[str] = ("*",),
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    cache_bytes: int = 0,
    known: dict[str, dict[str, Any]] | None = None,
    progress: Callable[[Any, int], Any] = lambda items, total: items,
) -> tuple[FolderCorpus, dict[str, dict[str, Any]]]:
    """Finds every audio file below ``root`` and reads each from end to end once.

    Args:
      root: searched recursively.
      sample_rate, channels: of what will be read (see `audio_file.read_excerpt`).
      split_by: "file", or "folder" to keep each top-level folder in one split.
      include: glob patterns; a file counts if its path below ``root`` matches any.
      validation_fraction, test_fraction: of the files or folders.
      cache_bytes: see `FolderCorpus`.
      known: what an earlier scan found; files of the same size and time are not read again.
      progress: wraps an iterable of a given length, for a progress bar.

    Returns:
      The corpus, and what was found in each file, to be given as ``known`` the next time.

    Raises:
      UserError: the folder is not there, or holds no usable audio.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"data.path={root} {what}; give a folder of audio files")
    names = [name for name in _audio_names(root) if _matches(name, include)]
    if not names:
        pattern = "" if tuple(include) == ("*",) else f" that match data.include={tuple(include)}"
        raise UserError(
            f"no audio files{pattern} below data.path={root}"
            f" (looked for {' '.join(sorted(audio_file.SUFFIXES))})"
        )
    look = functools.partial(_look, root, known or {})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        entries = dict(zip(names, progress(pool.map(look, names), len(names)), strict=True))
    skipped = {name: entry["skipped"] for name, entry in entries.items() if "skipped" in entry}
    usable = [name for name in names if name not in skipped]
    if not usable:
        first = next(iter(skipped))
        raise UserError(
            f"none of the {len(skipped)} audio files below data.path={root} can be used;"
            f" the first, {first}: {skipped[first]}"
        )
    unit = (lambda name: Path(name).parts[0]) if split_by == "folder" else (lambda name: name)
    if split_by == "folder" and all(len(Path(name).parts) == 1 for name in usable):
        raise UserError(
            f"data.split_by='folder' needs audio in sub-folders, and data.path={root} has none;"
            " use data.split_by='file'"
        )
    split = split_units(sorted({unit(name) for name in usable}), validation_fraction, test_fraction)
    clips = [
        Clip(
            name=name,
            frames=entries[name]["frames"],
            sample_rate=entries[name]["sample_rate"],
            channels=entries[name]["channels"],
            split=split[unit(name)],
            labels={"folder": Path(name).parts[0]} if len(Path(name).parts) > 1 else {},
        )
        for name in usable
    ]
    corpus = FolderCorpus(
        root, clips, skipped, sample_rate=sample_rate, channels=channels, cache_bytes=cache_bytes
    )
    return corpus, entries


def _audio_names(root: Path) -> list[str]:
    """Paths of audio files below ``root``, sorted; links to folders are not followed."""
    names = []
    for folder, _, files in os.walk(root):
        for file in files:
            path = Path(folder, file)
            if path.suffix.lower() in audio_file.SUFFIXES and not file.startswith("."):
                names.append(path.relative_to(root).as_posix())
    return sorted(names)


def _matches(name: str, include: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in include)


def _look(root: Path, known: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    path = root / name
    try:
        stat = path.stat()
    except OSError as error:
        return {"skipped": f"unreadable: {error.strerror}"}
    stamp = {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
    if known.get(name, {}).items() >= stamp.items():
        return known[name]
    try:
        return stamp | dataclasses.asdict(audio_file.examine(path))
    except audio_file.UnusableAudio as reason:
        return stamp | {"skipped": str(reason)}


def check_splits(corpus: Corpus, excerpt: int) -> None:
    """Refuses a corpus that cannot be trained on with excerpts of that many samples.

    Raises:
      UserError: a split is empty, or every clip is shorter than an excerpt.
    """
    counts = collections.Counter(clip.split for clip in corpus.clips)
    empty = [split for split in SPLITS if not counts[split]]
    if empty:
        raise UserError(
            f"the corpus is too small for its splits: {len(corpus.clips)} usable clips leave"
            f" {' and '.join(empty)} empty; add audio, or raise data.validation_fraction and"
            " data.test_fraction, or use data.split_by='file'"
        )
    longest = max(corpus.clips, key=lambda clip: clip.seconds)
    if samples_of(corpus, longest) < excerpt:
        raise UserError(
            f"every clip is shorter than an excerpt of {excerpt / corpus.sample_rate:.2f} s (the"
            f" longest, {longest.name}, has {longest.seconds:.2f} s); lower data.excerpt_seconds"
        )


def summary(corpus: Corpus, most_skipped: int = 10) -> str:
    """The corpus in a few lines: clips, hours, sample rates, splits, files skipped and why."""
    rates = collections.Counter(clip.sample_rate for clip in corpus.clips)
    lines = [
        f"corpus: {corpus.title}",
        f"  {len(corpus.clips)} clips, {_hours(corpus.clips)}, "
        + ", ".join(f"{count} at {rate} Hz" for rate, count in rates.most_common(5))
        + (f", {len(rates) - 5} other rates" if len(rates) > 5 else "")
        + f"; read at {corpus.sample_rate} Hz",
    ]
    for split in SPLITS:
        clips = [clip for clip in corpus.clips if clip.split == split]
        lines.append(f"  {split:<10} {len(clips):>6} clips, {_hours(clips)}")
    if corpus.skipped:
        lines.append(f"  {len(corpus.skipped)} files skipped:")
        shown = list(corpus.skipped.items())[:most_skipped]
        lines += [f"    {ascii(name)[1:-1]}: {reason}" for name, reason in shown]
        if len(corpus.skipped) > most_skipped:
            lines.append(f"    and {len(corpus.skipped) - most_skipped} more, in corpus.json")
    return "\n".join(lines)


def _hours(clips: Sequence[Clip]) -> str:
    seconds = sum(clip.seconds for clip in clips)
    return f"{seconds / 3600:.2f} hours" if seconds >= 360 else f"{seconds / 60:.1f} minutes"


def to_json(corpus: Corpus, entries: dict[str, dict[str, Any]]) -> str:
    """What is known of a corpus, for ``corpus.json``; ``entries`` as `scan` returned them."""
    return json.dumps(
        {
            "title": corpus.title,
            "sample_rate": corpus.sample_rate,
            "clips": [dataclasses.asdict(clip) for clip in corpus.clips],
            "skipped": corpus.skipped,
            "scanned": entries,
        },
        indent=1,
    )
