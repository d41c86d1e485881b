"""A corpus: a table of clips, split into train, validation and test, and how to read them."""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Sequence
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


def split_units(
    units: Sequence[str], validation: float, test: float, seed: int = 0
) -> dict[str, str]:
    """Which split each unit (a file or a folder) belongs to.

    A unit's place depends on a hash of its own name alone, so it stays where it is when others are
    added. Only where a split would stay empty, as with a handful of folders, does the unit of the
    lowest hash that is still in "train" move there.

    Args:
      units: names, each once.
      validation, test: the fractions of units to expect there.
      seed: another one gives another split.
    """

    def position(unit: str) -> float:
        salted = f"{unit}\0{seed}" if seed else unit
        digest = hashlib.sha256(salted.encode("utf-8", "surrogateescape")).digest()
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
            f" {' and '.join(empty)} empty; add audio, or change data.split_by,"
            " data.validation_fraction or data.test_fraction"
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


def as_dicts(corpus: Corpus) -> list[dict[str, Any]]:
    """The table of clips, as JSON has it."""
    return [dataclasses.asdict(clip) for clip in corpus.clips]


def to_json(corpus: Corpus, entries: dict[str, dict[str, Any]]) -> str:
    """What is known of a corpus, for ``corpus.json``; ``entries`` as
    `aejax.data.folder.scan` returned them."""
    return json.dumps(
        {
            "title": corpus.title,
            "sample_rate": corpus.sample_rate,
            "clips": as_dicts(corpus),
            "skipped": corpus.skipped,
            "scanned": entries,
        },
        indent=1,
    )
