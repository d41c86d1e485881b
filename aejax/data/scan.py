"""Scanning a folder: what files there are, and what is in each. A second look only stats them."""

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
from aejax.data.threads import in_order
from aejax.data.walk import Entry
from aejax.errors import UserError
from aejax.runtime import files

# A row for each file. `format` is an index into the scan's formats; for the rest see `Examination`.
FACTS = np.dtype(
    [("bytes", "i8"), ("modified_ns", "i8"), ("frames", "i8"), ("sample_rate", "i4")]
    + [("channels", "i4"), ("format", "i4"), ("peak", "f4"), ("rms", "f4"), ("clipped", "f4")]
    + [("mono", "f4"), ("digest", "u8"), ("seeks", "?")]
)
_PARTS = ("names", "problems", "formats", "facts")
NO_AUDIO = "no audio file"
_VERSION = b"2"  # of what is looked for in a file; what an older one says is looked at anew
# Files handed to the threads ahead of time, and seconds between two savings of what was found.
_AHEAD, _SAVE_EVERY = 256, 30.0


@dataclasses.dataclass(frozen=True)
class Scan:
    """What was found in a folder, sorted by name.

    Attributes:
      names: paths below the folder.
      facts: a row of `FACTS` for each.
      problems: why it cannot be used; "" where it can, `NO_AUDIO` for what is not even called
        as audio is.
      formats: that ``facts["format"]`` points at.
    """

    names: Strings
    facts: np.ndarray
    problems: Strings
    formats: tuple[str, ...]

    def usable(self) -> np.ndarray:
        """Which can be used, bool."""
        return np.diff(self.problems.ends, prepend=0) == 0

    def take(self, rows: np.ndarray) -> "Scan":
        """Those rows alone."""
        return Scan(self.names.take(rows), self.facts[rows], self.problems.take(rows), self.formats)

    def audio_names(self) -> Iterator[str]:
        """Of the files that are audio, or called as audio is."""
        for name, problem in zip(self.names, self.problems, strict=True):
            if problem != NO_AUDIO:
                yield name

    def skipped(self) -> dict[str, str]:
        """The reason by name, for each audio file that cannot be used."""
        rows = np.flatnonzero(~self.usable()).tolist()
        found = {self.names[row]: self.problems[row] for row in rows}
        return {name: problem for name, problem in found.items() if problem != NO_AUDIO}


def scan(
    root: Path,
    *,
    include: Sequence[str] = ("*",),
    known: Scan | None = None,
    save: Callable[[Scan], None] = lambda scan: None,
    progress: Callable[[Any, int, str], Any] = lambda items, total, what: items,
) -> Scan:
    """Finds the audio files below ``root`` and reads each from end to end, once, in threads.

    The way through the folder is that of `aejax.data.walk`. The folders of aejax's own runs are
    left out: what they hold is made from the corpus. Whether a file is audio is decided by what is
    in it; one that cannot be opened, or is hidden, counts only if it is called as audio is.

    Args:
      root: searched recursively.
      include: glob patterns; a file counts if its path below ``root`` matches any.
      known: an earlier scan; what has the same size and time is not read again.
      save: is given what was found up to now, every half a minute of reading.
      progress: wraps an iterable of a given length (0 if unknown), for a progress bar.

    Raises:
      UserError: the folder is not there, or holds no audio.
    """
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"{root} {what}; give a folder of audio files")
    found = [
        entry
        for entry in progress(walk.walk(root), 0, "looking for files")
        if entry.problem != walk.LINKED  # what is searched already is no loss
        and (matches(entry.name, include) or entry.name.endswith("/"))
    ]
    if any(entry.name == "/" for entry in found):
        raise UserError(f"{root} may not be entered; give a folder that may be read")
    found.sort()
    result = _fill(root, found, known, save, progress)
    others = sum(problem == NO_AUDIO for problem in result.problems)
    if others == len(found):
        pattern = "" if tuple(include) == ("*",) else f" that match data.include={tuple(include)}"
        raise UserError(
            f"no audio files{pattern} below {root}"
            + (f" ({others} other files are there)" if others else "")
        )
    return result


def matches(name: str, include: Sequence[str]) -> bool:
    """Whether a path matches any of the patterns, as they are or in their canonical spelling."""
    return any(
        pattern == "*"
        or fnmatch.fnmatchcase(name, pattern)
        or fnmatch.fnmatchcase(canonical(name), canonical(pattern))
        for pattern in include
    )


def _fill(
    root: Path,
    found: Sequence[Entry],
    known: Scan | None,
    save: Callable[[Scan], None],
    progress: Callable[[Any, int, str], Any],
) -> Scan:
    """Looks into what is not known already."""
    facts = np.zeros(len(found), FACTS)
    facts["bytes"] = [entry.bytes for entry in found]
    facts["modified_ns"] = [entry.modified_ns for entry in found]
    # None until it was looked at.
    problems: list[str | None] = [entry.problem or None for entry in found]
    formats: dict[str, int] = {}
    if known is not None:
        formats = {name: index for index, name in enumerate(known.formats)}
        _recall(found, facts, problems, known)

    def result(rows: Sequence[int]) -> Scan:
        return Scan(
            names=Strings.of([found[row][0] for row in rows]),
            facts=facts[rows] if len(rows) < len(facts) else facts,
            problems=Strings.of([problems[row] or "" for row in rows]),
            formats=tuple(formats),
        )

    todo = [row for row, problem in enumerate(problems) if problem is None]
    saved = time.monotonic()
    looks = in_order(
        lambda row: _look(root / found[row].name), todo, threads=os.cpu_count() or 1, ahead=_AHEAD
    )
    for row, outcome in zip(todo, progress(looks, len(todo), "reading files"), strict=True):
        if isinstance(outcome, str):
            problems[row] = outcome
        else:
            problems[row] = ""
            number = formats.setdefault(outcome.format, len(formats))
            for name, value in outcome._asdict().items():
                facts[name][row] = number if name == "format" else value
        if time.monotonic() - saved > _SAVE_EVERY:
            save(result([row for row, problem in enumerate(problems) if problem is not None]))
            saved = time.monotonic()
    scanned = result(range(len(found)))
    if todo:
        save(scanned)
    return scanned


def _recall(
    found: Sequence[Entry],
    facts: np.ndarray,
    problems: list[str | None],
    known: Scan,
) -> None:
    """Fills in what is known of files whose size and time are the same."""
    place = {name: index for index, name in enumerate(known.names)}
    sizes, times = known.facts["bytes"].tolist(), known.facts["modified_ns"].tolist()
    for index, entry in enumerate(found):
        old = place.get(entry.name)
        if entry.problem or old is None:
            continue
        if (sizes[old], times[old]) != (entry.bytes, entry.modified_ns):
            continue
        problem = known.problems[old]
        if not problem.startswith(audio_file.OUT_OF_REACH):  # that may be mended elsewhere
            facts[index], problems[index] = known.facts[old], problem


def _look(path: Path) -> Examination | str:
    try:
        return examine(path)
    except audio_file.NotAudio as reason:
        return str(reason) if walk.is_called(path.name) else NO_AUDIO
    except audio_file.UnusableAudio as reason:
        return str(reason)
    except Exception as error:  # whatever it is, the others can be used
        return f"unreadable: {type(error).__name__}: {error}"


def cache_path(root: Path, include: Sequence[str] = ("*",)) -> Path | None:
    """Where the scan of a folder is kept for whoever looks at it next; None without a home."""
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
    """Reads what `save` wrote; None where there is none.

    Raises:
      UserError: it is something else.
    """
    if not os.path.lexists(path):
        return None
    columns = table.load_arrays(path)
    try:
        return from_arrays(columns)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); {table.REMEDY}") from None


def recall(root: Path, include: Sequence[str] = ("*",)) -> Scan | None:
    """What is kept of the last look at a folder; None where there is none that can be used."""
    cache = cache_path(root, include)
    with contextlib.suppress(UserError):  # what is damaged there is made anew, and replaced
        return None if cache is None else load(cache)
    return None


def as_arrays(scanned: Scan) -> dict[str, np.ndarray | Strings]:
    """A scan, to be saved alone or in a larger table."""
    formats = Strings.of(scanned.formats)
    return dict(zip(_PARTS, (scanned.names, scanned.problems, formats, scanned.facts), strict=True))


def from_arrays(arrays: Mapping[str, Any]) -> Scan:
    """What `as_arrays` gave.

    Raises:
      ValueError: it is something else.
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
            raise ValueError(f"{field} beyond all reason")
    return scanned
