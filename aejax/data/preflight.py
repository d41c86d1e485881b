"""A summary of a corpus and of its problems, made before training."""

import dataclasses
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aejax.data.corpus import Corpus, top_folder
from aejax.data.scan import EMPTY, Scan
from aejax.data.table import SPLITS, Clips, Column
from aejax.runtime import words
from aejax.runtime.errors import printable
from aejax.runtime.words import duration

# A file is silent if its peak is below this (dB re full scale), clipped if a larger fraction of its
# samples is clipped, and anti-phase if the mean of its channels has less than this fraction
# (-20 dB) of their power.
SILENT_DB, CLIPPED, ANTI_PHASE = -60.0, 1e-4, 0.01
# A split with fewer files or folders, or less sound, is too small for reliable scores.
FEW_UNITS, LITTLE_SECONDS = {"file": 10, "folder": 5}, 60
_MOST_NAMES = 10  # of each kind, listed at the start of a run

_DURATIONS = (0.0, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, np.inf)  # seconds
_LEVELS = (-np.inf, -70, -60, -50, -40, -30, -25, -20, -15, -10, -5, np.inf)  # dB re full scale
# Prefixes of the reasons to leave a file out, by kind.
_KINDS = {
    "empty": ("empty file", "no audio in it"),
    "truncated": ("truncated",),
    "non-finite": ("non-finite", "samples up to"),
    "contradictory": ("a header that contradicts", "a sample rate of"),
    "duplicate": ("the same sound as",),
    "hidden": ("hidden",),
    "unreadable": ("",),
}


@dataclasses.dataclass(frozen=True)
class Preflight:
    """The contents of a corpus and its problems.

    Attributes:
      title: the name of the corpus.
      read_at: the sample rate it is read at, Hz.
      clips: number of clips used.
      seconds: their total duration.
      splits: clips, seconds and top-level folders by split.
      sample_rates, channels: number of clips by value.
      formats: number of files by format.
      durations: histogram, (low, high, clips); seconds.
      levels: histogram, (low, high, files); RMS in dB re full scale.
      left_out: by kind, the files that are left out, with reasons.
      noticed: by kind (silent, clipped, anti-phase), remarks on files that are used.
      other_files: number of files that are not audio.
      labels: for each label, the number of distinct values and of clips without one.
      warnings: lines about labels and patterns that match no file.
      thin: splits with few files or folders, or little sound.
    """

    title: str
    read_at: int
    clips: int
    seconds: float
    splits: Mapping[str, Mapping[str, Any]]
    sample_rates: Mapping[str, int]
    channels: Mapping[str, int]
    formats: Mapping[str, int]
    durations: Sequence[tuple[float, float, int]]
    levels: Sequence[tuple[float, float, int]]
    left_out: Mapping[str, Mapping[str, str]]
    noticed: Mapping[str, Mapping[str, str]]
    other_files: int
    labels: Mapping[str, tuple[int, int]]
    warnings: Sequence[str]
    thin: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """A dictionary for ``json.dumps``; open ends of histograms are None."""
        content = dataclasses.asdict(self)
        for name in ("durations", "levels"):
            content[name] = [
                [low if np.isfinite(low) else None, high if np.isfinite(high) else None, count]
                for low, high, count in content[name]
            ]
        return content


def preflight(corpus: Corpus) -> Preflight:
    """Summarises a corpus without reading audio."""
    clips, scanned = corpus.clips, corpus.scanned or EMPTY
    seconds, rows = clips.seconds(), _used_rows(scanned, corpus.skipped)
    facts = scanned.facts[rows]
    left_out: dict[str, dict[str, str]] = {kind: {} for kind in _KINDS}
    for name, reason in corpus.skipped.items():
        kind = next(kind for kind, prefixes in _KINDS.items() if reason.startswith(prefixes))
        left_out[kind][name] = reason
    return Preflight(
        title=corpus.title,
        read_at=corpus.sample_rate,
        clips=len(clips),
        seconds=float(seconds.sum()),
        splits={split: _split(clips, split) for split in SPLITS},
        sample_rates=_counts(clips.sample_rate, str),
        channels=_counts(clips.channels, str),
        formats=_counts(facts["format"], lambda index: scanned.formats[index]),
        durations=_histogram(seconds, _DURATIONS),
        levels=_histogram(_db(facts["rms"]), _LEVELS) if len(rows) else [],
        left_out={kind: names for kind, names in left_out.items() if names},
        noticed=_noticed(scanned, rows),
        other_files=scanned.count_other(),
        labels={name: _label_counts(column) for name, column in clips.labels.items()},
        warnings=list(map(printable, corpus.warnings)),
        thin=list(_small_splits(corpus)),
    )


def _small_splits(corpus: Corpus) -> Iterator[str]:
    """Splits that are measured, and too small for reliable scores, as sentences."""
    clips, unit = corpus.clips, corpus.split_by
    rows = {split: clips.of_split(split) for split in SPLITS}
    if sum(map(bool, map(len, rows.values()))) < 2:  # a single split
        return
    for split in ("validation", "test"):
        indices = rows[split]
        if unit == "folder":
            units = len({top_folder(clips.files[row]) for row in indices.tolist()})
        else:
            units = int(np.count_nonzero(clips.channel[indices] <= 0))
        seconds = float(clips.seconds()[indices].sum())
        if units and (units < FEW_UNITS[unit] or seconds < LITTLE_SECONDS):
            least = f"{words.count(FEW_UNITS[unit], unit)} and {LITTLE_SECONDS} seconds"
            yield (
                f"{split} has {words.count(units, unit)}, {duration(seconds)}: too little for"
                f" reliable scores, which take at least {least}"
            )


def _split(clips: Clips, split: str) -> dict[str, Any]:
    rows = clips.of_split(split)
    folders = clips.labels.get("folder")
    names: list[str] = []
    if folders is not None and folders.categories is not None:
        present = np.unique(folders.values[rows])
        names = [folders.categories[index] for index in present[present >= 0].tolist()]
    seconds = float(clips.seconds()[rows].sum())
    return {"clips": len(rows), "seconds": seconds, "folders": names}


def _label_counts(column: Column) -> tuple[int, int]:
    present = column.present()
    return len(np.unique(column.values[present])), int(np.count_nonzero(~present))


def _used_rows(scanned: Scan, skipped: Mapping[str, str]) -> np.ndarray:
    usable = np.flatnonzero(scanned.usable())
    if not skipped:
        return usable
    return np.asarray([row for row in usable.tolist() if scanned.names[row] not in skipped], int)


def _noticed(scanned: Scan, rows: np.ndarray) -> dict[str, dict[str, str]]:
    """Remarks on the files in these rows, by kind and name."""
    facts = scanned.facts[rows]
    peak, mono = _db(facts["peak"]), facts["mono"]
    silent = peak < SILENT_DB
    checks = {
        "silent": (silent, lambda r: f"its peak is {peak[r]:.0f} dB"),
        "clipped": (
            facts["clipped"] > CLIPPED,
            lambda r: f"{facts['clipped'][r]:.2%} of its samples",
        ),
        "anti-phase": (
            (mono < ANTI_PHASE) & ~silent,
            lambda r: f"the mean of its channels is {-_db(np.sqrt(mono[r])):.0f} dB softer",
        ),
    }
    return {
        kind: {scanned.names[rows[r]]: remark(r) for r in np.flatnonzero(flags).tolist()}
        for kind, (flags, remark) in checks.items()
        if flags.any()
    }


def _db(amplitude: Any) -> Any:
    return 20 * np.log10(np.maximum(amplitude, 1e-10))


def _counts(values: np.ndarray, name: Callable[[Any], str]) -> dict[str, int]:
    distinct, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable").tolist()
    return {name(distinct[index]): int(counts[index]) for index in order}


def _histogram(values: np.ndarray, edges: Sequence[float]) -> list[tuple[float, float, int]]:
    counts = np.histogram(values, edges)[0].tolist()
    return list(zip(map(float, edges[:-1]), map(float, edges[1:]), counts, strict=True))


def summary(result: Preflight) -> str:
    """A few lines for the start of a run."""
    rates = list(result.sample_rates.items())
    lines = [
        f"corpus: {printable(result.title)}",
        f"  {words.count(result.clips, 'clip')}, {duration(result.seconds)}, "
        + ", ".join(f"{count} at {rate} Hz" for rate, count in rates[:5])
        + (f", {words.count(len(rates) - 5, 'other rate')}" if len(rates) > 5 else "")
        + f"; read at {result.read_at} Hz",
    ]
    lines += [
        f"  {split:<10} {words.count(int(part['clips']), 'clip'):>12}, {duration(part['seconds'])}"
        for split, part in result.splits.items()
    ]
    lines += remarks(result) + _listed(result.noticed, "used, with remarks", 3)
    return "\n".join([*lines, *(f"  {line}" for line in result.thin)])


def remarks(result: Preflight) -> list[str]:
    """Lines about files that are left out, with reasons, and about labels and patterns that match
    no file. Printed wherever a corpus is opened; empty if there are none."""
    lines = _listed(result.left_out, "left out", _MOST_NAMES)
    if any(len(names) > _MOST_NAMES for names in result.left_out.values()):
        folder = result.title.removesuffix(" (packed)")
        lines.append(f"    all of them: aejax inspect {printable(shlex.quote(folder))}")
    return lines + [f"  {line}" for line in result.warnings]


def report(result: Preflight, most: int = 20) -> str:
    """The whole summary, as text for a terminal."""
    lines = [
        printable(result.title),
        "",
        f"  {words.count(result.clips, 'clip')}, {duration(result.seconds)},"
        f" read at {result.read_at} Hz",
    ]
    labels = {
        name: f"{values}" + (f" ({words.count(missing, 'clip')} without)" if missing else "")
        for name, (values, missing) in result.labels.items()
    }
    table: dict[str, Mapping[str, object]] = {
        "sample rates (Hz)": result.sample_rates,
        "channels": result.channels,
        "formats": result.formats,
        "labels (values)": labels,
    }
    for title, counts in table.items():
        if counts:
            shown = [f"{name}: {count}" for name, count in list(counts.items())[:8]]
            rest = [f"{len(counts) - 8} more"] if len(counts) > 8 else []
            lines.append(f"  {title:<18} {printable(', '.join(shown + rest))}")
    lines += _bars("duration (s)", result.durations) + _bars("RMS level (dB)", result.levels)
    lines += ["", "  splits"]
    for split, part in result.splits.items():
        lines.append(
            f"    {split:<12} {words.count(part['clips'], 'clip'):>15}  {duration(part['seconds'])}"
        )
        if part["folders"]:
            more = f", {len(part['folders']) - 6} more" if len(part["folders"]) > 6 else ""
            lines[-1] += f"  ({printable(', '.join(part['folders'][:6]))}{more})"
    if not all(part["clips"] for part in result.splits.values()):
        lines.append("    too few clips to train on: each split needs at least one")
    lines += [f"    {line}" for line in result.thin]
    lines += ["", *_listed(result.left_out, "left out", most)] if result.left_out else []
    lines += ["", *(f"  {line}" for line in result.warnings)] if result.warnings else []
    lines += ["", *_listed(result.noticed, "used, with remarks", most)] if result.noticed else []
    if result.other_files:
        lines += ["", f"  {words.count(result.other_files, 'other file')}, not audio"]
    if not result.left_out and not result.noticed:
        lines += ["", "  nothing wrong with any file"]
    return "\n".join(lines)


def _bars(title: str, bins: Sequence[tuple[float, float, int]]) -> list[str]:
    filled = [index for index, (_, _, count) in enumerate(bins) if count]
    if not filled:
        return []
    most = max(count for _, _, count in bins)
    lines = ["", f"  {title}"]
    for low, high, count in bins[filled[0] : filled[-1] + 1]:
        span = f"from {low:g}" if high == np.inf else f"to {high:g}"
        lines.append(f"    {span:>10} {count:>9}  {'#' * -(-count * 40 // most)}")
    return lines


def _listed(kinds: Mapping[str, Mapping[str, str]], title: str, most: int) -> list[str]:
    """Lines of names and reasons by kind, at most ``most`` names of each."""
    if not kinds:
        return []
    total = sum(len(names) for names in kinds.values())
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items())
    lines = [f"  {words.count(total, 'file')} {title}: {counts}"]
    for names in kinds.values():
        shown = list(names.items())[:most]
        lines += [f"    {printable(name)}: {printable(reason)}" for name, reason in shown]
        if len(names) > most:
            lines.append(f"    and {len(names) - most} more")
    return lines
