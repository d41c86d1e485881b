"""Preflight: what a corpus holds and what is wrong with it, before anything is trained on it."""

import dataclasses
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aejax.data.corpus import Corpus, top_folder
from aejax.data.scan import NO_AUDIO, Scan
from aejax.data.table import SPLITS, Clips, Column
from aejax.errors import plain

# A file is silent if its peak is below this (dB re full scale), clipped if more than this fraction
# of its samples is, and anti-phase if the mean of its channels has less than this fraction (-20 dB)
# of their power.
SILENT_DB, CLIPPED, ANTI_PHASE = -60.0, 1e-4, 0.01
# A split of fewer files or folders, or of less sound, is too small to go by.
FEW_UNITS, LITTLE_SECONDS = 5, 60

_DURATIONS = (0.0, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, np.inf)  # seconds
_LEVELS = (-np.inf, -70, -60, -50, -40, -30, -25, -20, -15, -10, -5, np.inf)  # dB re full scale
# Reasons to leave a file out, by how they begin.
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
    """What is known of a corpus.

    Attributes:
      title: of the corpus.
      read_at: Hz.
      clips: how many are used.
      seconds: of all of them.
      splits: clips, seconds and top-level folders by split.
      sample_rates, channels: clips by what they have.
      formats: files by what they have.
      durations: histogram, (low, high, clips); seconds.
      levels: histogram, (low, high, files); RMS in dB re full scale.
      left_out: the reason by name, by kind.
      noticed: what is used all the same, by kind: silent, clipped, anti-phase.
      other_files: how many are no audio.
      labels: how many different values each has, and how many clips have none.
      warnings: labels and patterns that are of no file.
      thin: splits of few files or folders, or of little sound.
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
        """For ``json.dumps``: an open end of a histogram is None."""
        plain = dataclasses.asdict(self)
        for name in ("durations", "levels"):
            plain[name] = [
                [low if np.isfinite(low) else None, high if np.isfinite(high) else None, count]
                for low, high, count in plain[name]
            ]
        return plain


def preflight(corpus: Corpus) -> Preflight:
    """Looks at a corpus; reads no audio."""
    clips, scanned = corpus.clips, corpus.scanned
    seconds = clips.seconds()
    used = _used(corpus, scanned)
    left_out: dict[str, dict[str, str]] = {kind: {} for kind in _KINDS}
    for name, reason in corpus.skipped.items():
        kind = next(k for k, begins in _KINDS.items() if reason.startswith(begins))
        left_out[kind][name] = reason
    return Preflight(
        title=corpus.title,
        read_at=corpus.sample_rate,
        clips=len(clips),
        seconds=float(seconds.sum()),
        splits={split: _split(clips, split) for split in SPLITS},
        sample_rates=_counts(clips.sample_rate, str),
        channels=_counts(clips.channels, str),
        formats={} if scanned is None else _counts(used["format"], lambda k: scanned.formats[k]),
        durations=_histogram(seconds, _DURATIONS),
        levels=[] if scanned is None else _histogram(_db(used["rms"]), _LEVELS),
        left_out={kind: names for kind, names in left_out.items() if names},
        noticed={} if scanned is None else _noticed(corpus, scanned),
        other_files=0 if scanned is None else _others(scanned),
        labels={name: _values(column) for name, column in clips.labels.items()},
        warnings=list(map(plain, corpus.warnings)),
        thin=list(_thin(corpus)),
    )


def _thin(corpus: Corpus) -> Iterator[str]:
    """The splits on which what is measured says little of anything else."""
    clips, what = corpus.clips, corpus.split_by
    rows = {split: clips.of_split(split) for split in SPLITS}
    if sum(map(bool, map(len, rows.values()))) < 2:  # nothing is split off
        return
    for split, own in rows.items():
        if what == "folder":
            units = len({top_folder(clips.files[row]) for row in own.tolist()})
        else:
            units = int(np.count_nonzero(clips.channel[own] <= 0))
        seconds = float((clips.frames[own] / clips.sample_rate[own]).sum())
        if units and (units < FEW_UNITS or seconds < LITTLE_SECONDS):
            plural = "s" * (units != 1)
            yield (
                f"{split} has {units} {what}{plural}, {_long(seconds)}: too little to go by; it"
                f" takes {FEW_UNITS} {what}s and {LITTLE_SECONDS} seconds at least"
            )


def _split(clips: Clips, split: str) -> dict[str, Any]:
    rows = clips.of_split(split)
    folders = clips.labels.get("folder")
    names: list[str] = []
    if folders is not None and folders.categories is not None:
        there = np.unique(folders.values[rows])
        names = [folders.categories[place] for place in there[there >= 0].tolist()]
    seconds = float((clips.frames[rows] / clips.sample_rate[rows]).sum())
    return {"clips": len(rows), "seconds": seconds, "folders": names}


def _values(column: Column) -> tuple[int, int]:
    there = column.there()
    return len(np.unique(column.values[there])), int(np.count_nonzero(~there))


def _used(corpus: Corpus, scanned: Scan | None) -> np.ndarray:
    """The facts of the files that are used."""
    if scanned is None:
        return np.zeros(0)
    return scanned.facts[_used_rows(corpus, scanned)]


def _used_rows(corpus: Corpus, scanned: Scan) -> np.ndarray:
    usable = np.flatnonzero(scanned.usable())
    if not corpus.skipped:
        return usable
    return np.asarray([r for r in usable.tolist() if scanned.names[r] not in corpus.skipped], int)


def _noticed(corpus: Corpus, scanned: Scan) -> dict[str, dict[str, str]]:
    rows = _used_rows(corpus, scanned)
    facts = scanned.facts[rows]
    peak, mono = _db(facts["peak"]), facts["mono"]
    silent = peak < SILENT_DB
    found = {
        "silent": (silent, lambda r: f"its peak is {peak[r]:.0f} dB"),
        "clipped": (facts["clipped"] > CLIPPED, lambda r: f"{facts['clipped'][r]:.2%} of it"),
        "anti-phase": (
            (mono < ANTI_PHASE) & ~silent,
            lambda r: f"the mean of its channels is {-_db(np.sqrt(mono[r])):.0f} dB softer",
        ),
    }
    return {
        kind: {scanned.names[rows[r]]: says(r) for r in np.flatnonzero(which).tolist()}
        for kind, (which, says) in found.items()
        if which.any()
    }


def _others(scanned: Scan) -> int:
    rows = np.flatnonzero(~scanned.usable()).tolist()
    return sum(scanned.problems[row] == NO_AUDIO for row in rows)


def _db(amplitude: Any) -> Any:
    return 20 * np.log10(np.maximum(amplitude, 1e-10))


def _counts(values: np.ndarray, name: Callable[[Any], str]) -> dict[str, int]:
    different, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable").tolist()
    return {name(different[place]): int(counts[place]) for place in order}


def _histogram(values: np.ndarray, edges: Sequence[float]) -> list[tuple[float, float, int]]:
    counts = np.histogram(values, edges)[0].tolist()
    return list(zip(map(float, edges[:-1]), map(float, edges[1:]), counts, strict=True))


def summary(found: Preflight, most: int = 10) -> str:
    """In a few lines, for the beginning of a run."""
    rates = list(found.sample_rates.items())
    lines = [
        f"corpus: {plain(found.title)}",
        f"  {found.clips} clips, {_long(found.seconds)}, "
        + ", ".join(f"{count} at {rate} Hz" for rate, count in rates[:5])
        + (f", {len(rates) - 5} other rates" if len(rates) > 5 else "")
        + f"; read at {found.read_at} Hz",
    ]
    lines += [
        f"  {split:<10} {int(part['clips']):>6} clips, {_long(part['seconds'])}"
        for split, part in found.splits.items()
    ]
    lines += remarks(found, most) + _listed(found.noticed, "used, but noticed", 3)
    return "\n".join([*lines, *(f"  {line}" for line in found.thin)])


def remarks(found: Preflight, most: int = 10) -> list[str]:
    """Files that are left out, with the reasons, and labels and patterns that are of no file: what
    is said wherever a corpus is opened. No lines where there is nothing of the kind."""
    lines = _listed(found.left_out, "left out", most)
    if any(len(names) > most for names in found.left_out.values()):
        folder = found.title.removesuffix(" (packed)")
        lines.append(f"    all of them: aejax inspect {plain(shlex.quote(folder))}")
    return lines + [f"  {line}" for line in found.warnings]


def report(found: Preflight, most: int = 20) -> str:
    """All of it, for a terminal."""
    lines = [
        plain(found.title),
        "",
        f"  {found.clips} clips, {_long(found.seconds)}, read at {found.read_at} Hz",
    ]
    labels = {
        name: f"{values}" + (f" ({missing} clips without)" if missing else "")
        for name, (values, missing) in found.labels.items()
    }
    table: dict[str, Mapping[str, object]] = {
        "sample rates (Hz)": found.sample_rates,
        "channels": found.channels,
        "formats": found.formats,
        "labels (values)": labels,
    }
    for title, counts in table.items():
        if counts:
            shown = [f"{name}: {count}" for name, count in list(counts.items())[:8]]
            rest = [f"{len(counts) - 8} more"] if len(counts) > 8 else []
            lines.append(f"  {title:<18} {plain(', '.join(shown + rest))}")
    lines += _bars("duration (s)", found.durations) + _bars("RMS level (dB)", found.levels)
    lines += ["", "  splits"]
    for split, part in found.splits.items():
        lines.append(f"    {split:<12} {part['clips']:>9} clips  {_long(part['seconds'])}")
        if part["folders"]:
            more = f", {len(part['folders']) - 6} more" if len(part["folders"]) > 6 else ""
            lines[-1] += f"  ({plain(', '.join(part['folders'][:6]))}{more})"
    if not all(part["clips"] for part in found.splits.values()):
        lines.append("    too few to train on: each split needs one at least")
    lines += [f"    {line}" for line in found.thin]
    lines += ["", *_listed(found.left_out, "left out", most)] if found.left_out else []
    lines += ["", *(f"  {line}" for line in found.warnings)] if found.warnings else []
    lines += ["", *_listed(found.noticed, "used, but noticed", most)] if found.noticed else []
    if found.other_files:
        lines += ["", f"  {found.other_files} other files, no audio"]
    if not found.left_out and not found.noticed:
        lines += ["", "  nothing wrong with any file"]
    return "\n".join(lines)


def _bars(title: str, bins: Sequence[tuple[float, float, int]], width: int = 40) -> list[str]:
    filled = [place for place, (_, _, count) in enumerate(bins) if count]
    if not filled:
        return []
    most = max(count for _, _, count in bins)
    lines = ["", f"  {title}"]
    for low, high, count in bins[filled[0] : filled[-1] + 1]:
        span = f"from {low:g}" if high == np.inf else f"to {high:g}"
        lines.append(f"    {span:>10} {count:>9}  {'#' * -(-count * width // most)}")
    return lines


def _listed(kinds: Mapping[str, Mapping[str, str]], title: str, most: int) -> list[str]:
    """Names and reasons, kind by kind, not more than ``most`` of each."""
    if not kinds:
        return []
    total = sum(len(names) for names in kinds.values())
    what = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items())
    lines = [f"  {total} file{'s' * (total != 1)} {title}: {what}"]
    for names in kinds.values():
        lines += [
            f"    {plain(name)}: {plain(reason)}" for name, reason in list(names.items())[:most]
        ]
        if len(names) > most:
            lines.append(f"    and {len(names) - most} more")
    return lines


def _long(seconds: float) -> str:
    if seconds >= 360:
        return f"{seconds / 3600:.2f} hours"
    return f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"
