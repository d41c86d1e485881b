"""Scans of a folder: its files and their contents. A second scan only stats unchanged files."""

import contextlib
import dataclasses
import fnmatch
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data import audio_file, table, walk
from aejax.data.examination import Examination, examine
from aejax.data.names import canonical
from aejax.data.table import Strings
from aejax.data.walk import Entry
from aejax.runtime import files, words
from aejax.runtime.errors import UserError
from aejax.runtime.threads import cores, thread_map

# A row for each file. `format` indexes the scan's formats; for the other fields see `Examination`.
FACTS = np.dtype(
    [("bytes", "i8"), ("modified_ns", "i8"), ("frames", "i8"), ("sample_rate", "i4")]
    + [("channels", "i4"), ("format", "i4"), ("peak", "f4"), ("rms", "f4"), ("clipped", "f4")]
    + [("mono", "f4"), ("digest", "u8"), ("seeks", "?")]
)
_PARTS = ("names", "problems", "formats", "facts")
NO_AUDIO = "no audio file"
_VERSION = b"2"  # of the cached facts; caches of another version are not used
# Files submitted to the threads ahead of time, and seconds between two saves of the scan.
_AHEAD, _SAVE_EVERY = 256, 30.0


@dataclasses.dataclass(frozen=True)
class Scan:
    """The files of a folder and their contents, sorted by name.

    Attributes:
      names: paths below the folder.
      facts: a row of `FACTS` for each.
      problems: why each cannot be used; "" for usable files, `NO_AUDIO` for files that are not
        audio by content or suffix.
      formats: names that ``facts["format"]`` indexes.
    """

    names: Strings
    facts: np.ndarray
    problems: Strings
    formats: tuple[str, ...]

    def usable(self) -> np.ndarray:
        """Mask of the files that can be used, bool."""
        return np.diff(self.problems.ends, prepend=0) == 0

    def take(self, rows: np.ndarray) -> "Scan":
        """The scan of the files in these rows."""
        return Scan(self.names.take(rows), self.facts[rows], self.problems.take(rows), self.formats)

    def audio_names(self) -> Iterator[str]:
        """Names of the files that are audio or have a suffix of audio."""
        for name, problem in zip(self.names, self.problems, strict=True):
            if problem != NO_AUDIO:
                yield name

    def skipped(self) -> dict[str, str]:
        """The reason by name, for each audio file that cannot be used."""
        rows = np.flatnonzero(~self.usable()).tolist()
        problems = {self.names[row]: self.problems[row] for row in rows}
        return {name: problem for name, problem in problems.items() if problem != NO_AUDIO}

    def count_other(self) -> int:
        """Number of files that are not audio."""
        rows = np.flatnonzero(~self.usable()).tolist()
        return sum(self.problems[row] == NO_AUDIO for row in rows)


EMPTY = Scan(Strings.of([]), np.zeros(0, FACTS), Strings.of([]), ())


def scan(
    root: Path,
    *,
    include: Sequence[str] = ("*",),
    known: Scan | None = None,
    examine: Callable[[Path, Sequence[str]], Iterator[Examination | str]] | None = None,
    save: Callable[[Scan], None] = lambda scan: None,
    progress: Callable[[Any, int, str], Any] = lambda items, total, desc: items,
) -> Scan:
    """Finds the audio files below ``root`` and reads each from end to end, once, in threads.

    Walks the folder with `aejax.data.walk`, and skips folders of aejax's own runs. A file is audio
    by its content; a hidden or unreadable file only if its suffix is that of audio.

    Args:
      root: searched recursively.
      include: glob patterns; a file is used if its path below ``root`` matches any.
      known: an earlier scan; files of the same size and time are not read again.
      examine: called instead of `examine_files`.
      save: called with the scan so far, every half minute of reading.
      progress: wraps an iterable of known length (0 if unknown), for a progress bar.

    Raises:
      UserError: the folder does not exist, or holds no audio.
    """
    check_folder(root)
    entries = [
        entry
        for entry in progress(walk.walk(root), 0, "looking for files")
        if entry.problem != walk.LINKED  # its target is searched anyway
        and (matches(entry.name, include) or entry.name.endswith("/"))
    ]
    if any(entry.name == "/" for entry in entries):
        raise UserError(f"{root} cannot be read (no permission); give another folder")
    entries.sort()
    result = _scan_entries(root, entries, known, examine or examine_files, save, progress)
    others = result.count_other()
    if others == len(entries):
        pattern = "" if tuple(include) == ("*",) else f" that match data.include={tuple(include)}"
        raise UserError(
            f"no audio files{pattern} below {root}"
            + (f" ({words.count(others, 'other file')})" if others else "")
        )
    return result


def check_folder(root: Path) -> None:
    """Checks that there is a folder to scan.

    Raises:
      UserError: there is none.
    """
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"{root} {problem}; give a folder of audio files")


def matches(name: str, include: Sequence[str]) -> bool:
    """Whether a path matches any of the patterns, as written or in canonical spelling."""
    return any(
        pattern == "*"
        or fnmatch.fnmatchcase(name, pattern)
        or fnmatch.fnmatchcase(canonical(name), canonical(pattern))
        for pattern in include
    )


def _scan_entries(
    root: Path,
    entries: Sequence[Entry],
    known: Scan | None,
    examine: Callable[[Path, Sequence[str]], Iterator[Examination | str]],
    save: Callable[[Scan], None],
    progress: Callable[[Any, int, str], Any],
) -> Scan:
    """A scan of the entries; reads the files that are not in the earlier one."""
    facts = np.zeros(len(entries), FACTS)
    facts["bytes"] = [entry.bytes for entry in entries]
    facts["modified_ns"] = [entry.modified_ns for entry in entries]
    # None until the file is examined.
    problems: list[str | None] = [entry.problem or None for entry in entries]
    formats: dict[str, int] = {}
    if known is not None:
        formats = {name: index for index, name in enumerate(known.formats)}
        _recall(entries, facts, problems, known)

    def result(rows: Sequence[int]) -> Scan:
        return Scan(
            names=Strings.of([entries[row][0] for row in rows]),
            facts=facts[rows] if len(rows) < len(facts) else facts,
            problems=Strings.of([problems[row] or "" for row in rows]),
            formats=tuple(formats),
        )

    pending = [row for row, problem in enumerate(problems) if problem is None]
    last_save = time.monotonic()
    examined = examine(root, [entries[row].name for row in pending])
    for row, outcome in zip(
        pending, progress(examined, len(pending), "reading files"), strict=True
    ):
        problems[row] = record(outcome, facts, row, formats)
        if time.monotonic() - last_save > _SAVE_EVERY:
            save(result([row for row, problem in enumerate(problems) if problem is not None]))
            last_save = time.monotonic()
    scanned = result(range(len(entries)))
    if pending:
        save(scanned)
    return scanned


def record(outcome: Examination | str, facts: np.ndarray, row: int, formats: dict[str, int]) -> str:
    """Writes what a file holds into a row of `FACTS`; returns its problem, "" for a usable file."""
    if isinstance(outcome, str):
        return outcome
    number = formats.setdefault(outcome.format, len(formats))
    for name, value in outcome._asdict().items():
        facts[name][row] = number if name == "format" else value
    return ""


def _recall(
    entries: Sequence[Entry],
    facts: np.ndarray,
    problems: list[str | None],
    known: Scan,
) -> None:
    """Copies the facts of files whose size and time are unchanged."""
    known_rows = {name: row for row, name in enumerate(known.names)}
    sizes, times = known.facts["bytes"].tolist(), known.facts["modified_ns"].tolist()
    for row, entry in enumerate(entries):
        old = known_rows.get(entry.name)
        if entry.problem or old is None:
            continue
        if (sizes[old], times[old]) != (entry.bytes, entry.modified_ns):
            continue
        problem = known.problems[old]
        if not problem.startswith(audio_file.OUT_OF_REACH):  # may be repaired meanwhile
            facts[row], problems[row] = known.facts[old], problem


def examine_files(
    root: Path, names: Sequence[str], threads: int | None = None
) -> Iterator[Examination | str]:
    """Reads files in threads; yields what each holds, or why it cannot be used."""
    return thread_map(
        lambda name: _examine(root / name), names, threads=threads or cores(), ahead=_AHEAD
    )


def _examine(path: Path) -> Examination | str:
    try:
        return examine(path)
    except audio_file.NotAudio as reason:
        return str(reason) if walk.has_suffix(path.name) else NO_AUDIO
    except audio_file.UnusableAudio as reason:
        return str(reason)
    except Exception as error:  # one file must not stop the scan
        return f"unreadable: {type(error).__name__}: {error}"


def cache_path(root: Path, include: Sequence[str] = ("*",)) -> Path | None:
    """Path of a folder's cached scan; None without a home directory."""
    try:
        home = files.expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    except UserError:
        return None
    key = b"\0".join([_VERSION, os.fsencode(root.resolve()), *map(os.fsencode, include)])
    name = hashlib.sha256(key).hexdigest()[:24]
    return home / "aejax" / "scans" / f"{name}.npz"


def save(path: Path, scanned: Scan) -> None:
    """Writes a scan as ``.npz``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.save_arrays(path, as_arrays(scanned))


def load(path: Path) -> Scan | None:
    """Reads a scan written by `save`; None if the file does not exist.

    Raises:
      UserError: the file is damaged.
    """
    if not os.path.lexists(path):
        return None
    columns = table.load_arrays(path)
    try:
        return from_arrays(columns)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); {table.REMEDY}") from None


def recall(root: Path, include: Sequence[str] = ("*",)) -> Scan | None:
    """The cached scan of a folder; None if there is none or it is damaged."""
    cache = cache_path(root, include)
    with contextlib.suppress(UserError):  # a damaged cache is replaced
        return None if cache is None else load(cache)
    return None


def as_arrays(scanned: Scan) -> dict[str, np.ndarray | Strings]:
    """A scan as a dictionary of arrays, saved alone or in a larger table."""
    formats = Strings.of(scanned.formats)
    return dict(zip(_PARTS, (scanned.names, scanned.problems, formats, scanned.facts), strict=True))


def from_arrays(arrays: Mapping[str, Any]) -> Scan:
    """The scan in a dictionary made by `as_arrays`.

    Raises:
      ValueError: the arrays are not those of a scan.
    """
    names, problems, formats, facts = (arrays.get(key) for key in _PARTS)
    if not isinstance(facts, np.ndarray) or facts.dtype != FACTS or facts.ndim != 1:
        raise ValueError("no scan of this version")
    if not (
        isinstance(names, Strings)
        and isinstance(problems, Strings)
        and isinstance(formats, Strings)
    ):
        raise ValueError("no strings")
    if not len(names) == len(problems) == len(facts):
        raise ValueError("columns of different lengths")
    if (facts["format"] < 0).any() or (facts["format"] >= max(1, len(formats))).any():
        raise ValueError("an unknown format")
    scanned = Scan(names, facts, problems, tuple(formats))
    used = facts if scanned.usable().all() else facts[scanned.usable()]
    for field, low, high in (
        ("frames", 1, 2**48),
        ("sample_rate", 1000, 1_000_000),
        ("channels", 1, 1024),
    ):
        if (used[field] < low).any() or (used[field] > high).any():
            raise ValueError(f"{field} out of range")
    return scanned
