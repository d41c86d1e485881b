"""Sources and targets of a task: a file, a mirrored folder, or a pipe."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from aejax.data import walk
from aejax.data.audio_file import SUFFIXES, NotAudio, UnusableAudio
from aejax.runtime import files, stopping
from aejax.runtime.errors import UserError, one_line
from aejax.runtime.progress import bar, note, warn

PIPE = "-"
# System folders; /dev/fd links into /proc.
_SYSTEM_FOLDERS = (("/", "proc"), ("/", "sys"), ("/", "dev"))

# Reads the first path and writes the second, whole or not at all; returns a message, or "".
Task = Callable[[Path, Path], str]


class Pair(NamedTuple):
    """A source, its target, and the name of the source in messages."""

    source: Path
    target: Path
    name: str


class Places(NamedTuple):
    """All sources and targets of a task.

    Attributes:
      pairs: of source and target.
      folder: whether the sources are the files of a folder; others than audio are skipped.
      piped: suffix of the output, if standard input or output is used; else "".
      meant: suffixes of audio: such files in a folder are never skipped.
      passed_over: other entries of the folder, with the reason.
    """

    pairs: list[Pair]
    folder: bool
    piped: str
    meant: Collection[str] = ()
    passed_over: Mapping[str, str] = {}


def find(
    source: str,
    target: str,
    *,
    rename: Callable[[str], str],
    piped: str,
    force: bool,
    meant: Collection[str] = SUFFIXES,
) -> Places:
    """The sources and targets of a task; no file is read.

    Args:
      source: a file, a folder, or ``-`` for standard input.
      target: a file or a folder, as ``source``; ``-`` for standard output. A folder is made.
      rename: a file's name in a folder to that of its result.
      piped: suffix of the output, if standard input or output is used.
      force: whether existing files may be overwritten; of a link, the link and not its target.
      meant: suffixes of audio: such files in a folder are never skipped.

    Raises:
      UserError: ``source`` does not exist, or ``target`` exists or cannot be written.
    """
    root, out = files.expand(source), files.expand(target)
    if source != PIPE and not root.exists():
        raise UserError(f"{source} does not exist")
    if source != PIPE and root.is_dir():
        return _find_all(root, out, rename, force, meant)
    if target != PIPE:
        check_free([root], out, force=force)
    return Places([Pair(root, out, source)], False, piped if PIPE in (source, target) else "")


def check_free(sources: Sequence[Path], target: Path, *, force: bool) -> None:
    """Checks that ``target`` can be written.

    Raises:
      UserError: it exists without ``force``, is one of the sources, or cannot be written.
    """
    if os.path.lexists(target):
        if target.is_dir():
            raise UserError(f"{target} is a folder; give another name")
        if any(source.exists() and os.path.samefile(source, target) for source in sources):
            raise UserError(f"{target} is what is read; give another file to write")
        if target.exists() and not target.is_file():
            raise UserError(f"{target} is no regular file; give another name")
        if not force:
            raise UserError(f"{target} is there already; --force writes over it")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is no folder; make it, or give another folder")
    folder = target.parent.resolve().parts
    if folder in _SYSTEM_FOLDERS or folder[:2] in _SYSTEM_FOLDERS[:2]:
        raise UserError(f"{target} is in a system folder; give another name")


def _find_all(
    root: Path, out: Path, rename: Callable[[str], str], force: bool, meant: Collection[str]
) -> Places:
    if str(out) == PIPE or (os.path.lexists(out) and not out.is_dir()):
        raise UserError(f"{root} is a folder; give a folder to write, not {out}")
    if out.exists() and os.path.samefile(root, out):
        raise UserError(f"{out} is what is read; give another folder to write")
    pairs: list[Pair] = []
    problems: dict[str, str] = {}
    for entry in walk.walk(root, suffixes=meant, runs=True, exclude=out):
        target = out / entry.name
        pair = Pair(root / entry.name, target.with_name(rename(target.name)), entry.name)
        if entry.problem:
            problems[entry.name] = entry.problem
        elif os.path.lexists(pair.target) and not force:
            raise UserError(f"{pair.target} is there already; --force writes over it")
        else:
            pairs.append(pair)
    return Places(pairs, True, "", meant, problems)


def each(places: Places, task: Task, *, jobs: int) -> None:
    """Runs a task on each pair of source and target.

    Args:
      places: of `find`.
      task: to run.
      jobs: files at once.

    Raises:
      UserError: a file failed; in a folder, after all others have run.
    """
    if places.folder:
        _all(places, task, jobs)
        return
    (pair,) = places.pairs
    with named(pair.name):
        if not places.piped:
            say(pair.name, task(pair.source, pair.target))
            return
        with _as_files(pair, places.piped) as (source, target):
            say(pair.name, task(source, target))


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Raises `UnusableAudio` as a UserError that begins with the file's name."""
    try:
        yield
    except UnusableAudio as error:
        raise UserError(f"{name}: {error}") from None


def say(name: str, line: str) -> None:
    """Prints a message about a file, not on standard output, which may be the target."""
    if line:
        note(f"{name}: {line}")


@contextlib.contextmanager
def _as_files(pair: Pair, suffix: str) -> Iterator[tuple[Path, Path]]:
    """Temporary files in place of pipes, which cannot seek."""
    with (
        tempfile.TemporaryDirectory(prefix="aejax-") as folder,
        stopping.at_end(lambda: shutil.rmtree(folder)),
    ):
        source, target = pair.source, pair.target
        if str(source) == PIPE:
            source = Path(folder, "in")
            with source.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        if str(target) == PIPE:
            target = Path(folder, f"out{suffix}")
        yield source, target
        if str(pair.target) == PIPE:
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def _all(places: Places, task: Task, jobs: int) -> None:
    """Runs a task on every file of a folder, also after one has failed."""
    problems: list[str] = []
    done = 0

    def run(pair: Pair) -> str:
        pair.target.parent.mkdir(parents=True, exist_ok=True)
        check_free([pair.source], pair.target, force=True)
        return task(pair.source, pair.target)

    with ThreadPoolExecutor(jobs) as pool:
        calls = [(pair, pool.submit(run, pair)) for pair in places.pairs]
        try:
            for pair, call in bar(calls, desc="files", unit="file"):
                error = call.exception()
                if error is None:
                    say(pair.name, call.result())
                    done += 1
                # A folder may have other files than audio.
                elif not isinstance(error, NotAudio) or walk.has_suffix(pair.name, places.meant):
                    problems.append(f"{pair.name}: {_reason(error)}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for name, reason in places.passed_over.items():
        if reason.startswith((walk.HIDDEN, walk.LINKED)):
            note(f"passed over: {name}: {reason}")
        elif name.endswith("/") or walk.has_suffix(name, places.meant):
            problems.append(f"{name}: {reason}")
    for problem in problems:
        warn(problem)
    if problems:
        raise UserError(f"{len(problems)} of {len(problems) + done} files could not be done")
    if not done:
        raise UserError("there is no file in it that can be read")


def _reason(error: BaseException) -> str:
    """The message of an error of the file, the disk, or aejax."""
    if isinstance(error, (UnusableAudio, UserError)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error)
