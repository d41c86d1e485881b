"""Where a task reads and writes: a file, a folder that is mirrored, or a pipe."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from aejax.bars import bar, note, warn
from aejax.data import walk
from aejax.data.audio_file import SUFFIXES, NotAudio, UnusableAudio
from aejax.errors import UserError
from aejax.launchers.task import one_line
from aejax.runtime import files, stopping

PIPE = "-"
# Folders of links that are not what they seem: /dev/fd is in /proc.
_OF_THE_SYSTEM = (("/", "proc"), ("/", "sys"), ("/", "dev"))

# Is given a path to read, and one that it has to write, whole or not at all; returns a line to say
# of it, or nothing.
Task = Callable[[Path, Path], str]


class Pair(NamedTuple):
    """What to read, what to write, and what to call the first in a message."""

    source: Path
    target: Path
    name: str


class Places(NamedTuple):
    """What is to be done.

    Attributes:
      pairs: from where to where.
      folder: whether they come from one; what is no audio there is passed over.
      piped: suffix of what goes to standard output, if that or standard input is meant.
      meant: suffixes of files in a folder that are not passed over where they are no audio.
      passed_over: what else is in a folder, with the reason.
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
    """From one place to another, before anything is read.

    Args:
      source: a file, a folder, or ``-`` for standard input.
      target: the same kind of thing; ``-`` for standard output. A folder is made.
      rename: a file's name in a folder to that of its result.
      piped: suffix of what goes to standard output.
      force: whether what is there may be written over; of a link, it and not what it leads to.
      meant: suffixes of files in a folder that are not passed over where they are no audio.

    Raises:
      UserError: a place is not as said, or taken.
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
    """Refuses to write over what is there.

    Raises:
      UserError: it is there, and not to be written over; or cannot be written.
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
        raise UserError(f"{target.parent} is no folder; make it, or give another place")
    folder = target.parent.resolve().parts
    if folder in _OF_THE_SYSTEM or folder[:2] in _OF_THE_SYSTEM[:2]:
        raise UserError(f"{target} is no place for a file; give another name")


def _find_all(
    root: Path, out: Path, rename: Callable[[str], str], force: bool, meant: Collection[str]
) -> Places:
    if str(out) == PIPE or (os.path.lexists(out) and not out.is_dir()):
        raise UserError(f"{root} is a folder; give a folder to write, not {out}")
    if out.exists() and os.path.samefile(root, out):
        raise UserError(f"{out} is what is read; give another folder to write")
    pairs: list[Pair] = []
    problems: dict[str, str] = {}
    for entry in walk.walk(root, meant=meant, runs=True, leave_out=out):
        target = out / entry.name
        pair = Pair(root / entry.name, target.with_name(rename(target.name)), entry.name)
        if entry.problem:
            problems[entry.name] = entry.problem
        elif os.path.lexists(pair.target) and not force:
            raise UserError(f"{pair.target} is there already; --force writes over what is there")
        else:
            pairs.append(pair)
    return Places(pairs, True, "", meant, problems)


def each(places: Places, task: Task, *, jobs: int) -> None:
    """Runs a task from each place to the other.

    Args:
      places: of `find`.
      task: to run.
      jobs: files at once.

    Raises:
      UserError: a file could not be done; of a folder, after all others.
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
    """What is wrong with a file, with its name before it."""
    try:
        yield
    except UnusableAudio as error:
        raise UserError(f"{name}: {error}") from None


def say(name: str, line: str) -> None:
    """A line about a file; standard output may be what is written."""
    if line:
        note(f"{name}: {line}")


@contextlib.contextmanager
def _as_files(pair: Pair, suffix: str) -> Iterator[tuple[Path, Path]]:
    """Pipes as files: a header that is written last needs to seek, and so do some that are read."""
    with (
        tempfile.TemporaryDirectory(prefix="aejax-") as place,
        stopping.at_end(lambda: shutil.rmtree(place)),
    ):
        source, target = pair.source, pair.target
        if str(source) == PIPE:
            source = Path(place, "in")
            with source.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        if str(target) == PIPE:
            target = Path(place, f"out{suffix}")
        yield source, target
        if str(pair.target) == PIPE:
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def _all(places: Places, task: Task, jobs: int) -> None:
    """Every file of a folder, whatever becomes of the others."""
    problems: list[str] = []
    done = 0

    def one(pair: Pair) -> str:
        pair.target.parent.mkdir(parents=True, exist_ok=True)
        check_free([pair.source], pair.target, force=True)
        return task(pair.source, pair.target)

    with ThreadPoolExecutor(jobs) as pool:
        calls = [(pair, pool.submit(one, pair)) for pair in places.pairs]
        try:
            for pair, call in bar(calls, desc="files", unit="file"):
                error = call.exception()
                if error is None:
                    say(pair.name, call.result())
                    done += 1
                # In a folder there may be other things than audio.
                elif not isinstance(error, NotAudio) or walk.is_called(pair.name, places.meant):
                    problems.append(f"{pair.name}: {_reason(error)}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for name, reason in places.passed_over.items():
        if reason.startswith((walk.HIDDEN, walk.LINKED)):
            note(f"passed over: {name}: {reason}")
        elif name.endswith("/") or walk.is_called(name, places.meant):
            problems.append(f"{name}: {reason}")
    for problem in problems:
        warn(problem)
    if problems:
        raise UserError(f"{len(problems)} of {len(problems) + done} files could not be done")
    if not done:
        raise UserError("there is no file in it that can be read")


def _reason(error: BaseException) -> str:
    """Why a file could not be done: what is wrong with it, or with the disk, or with aejax."""
    if isinstance(error, (UnusableAudio, UserError)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error)
