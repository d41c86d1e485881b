"""Where a task reads and writes: a file, a folder that is mirrored, or a pipe."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from aejax.bars import bar, note, warn
from aejax.data.audio_file import SUFFIXES, NotAudio, UnusableAudio
from aejax.errors import UserError, plain

PIPE = "-"

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
    """

    pairs: list[Pair]
    folder: bool
    piped: str


def find(
    source: str, target: str, *, rename: Callable[[str], str], piped: str, force: bool
) -> Places:
    """From one place to another, before anything is read.

    Args:
      source: a file, a folder, or ``-`` for standard input.
      target: the same kind of thing; ``-`` for standard output. A folder is made.
      rename: a file's name in a folder to that of its result.
      piped: suffix of what goes to standard output.
      force: whether what is there may be written over.

    Raises:
      UserError: a place is not as said, or taken.
    """
    root, out = Path(source), Path(target)
    if source != PIPE and not root.exists():
        raise UserError(f"{source} does not exist")
    if source != PIPE and root.is_dir():
        return _find_all(root, target, rename=rename, force=force)
    if target != PIPE:
        check_free([root], out, force=force)
    return Places([Pair(root, out, source)], False, piped if PIPE in (source, target) else "")


def check_free(sources: Sequence[Path], target: Path, *, force: bool) -> None:
    """Refuses to write over what is there.

    Raises:
      UserError: it is there, and not to be written over; or cannot be written.
    """
    if target.exists():
        if target.is_dir():
            raise UserError(f"{target} is a folder; give another name")
        if any(source.exists() and os.path.samefile(source, target) for source in sources):
            raise UserError(f"{target} is what is read; give another file to write")
        if not force:
            raise UserError(f"{target} is there already; --force writes over it")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is no folder; make it, or give another place")


def _find_all(root: Path, target: str, *, rename: Callable[[str], str], force: bool) -> Places:
    out = Path(target)
    if target == PIPE or (out.exists() and not out.is_dir()):
        raise UserError(f"{root} is a folder; give a folder to write, not {target}")
    if out.exists() and os.path.samefile(root, out):
        raise UserError(f"{target} is what is read; give another folder to write")
    pairs = list(_below(root, out, rename))
    for pair in pairs:
        if pair.target.exists() and not force:
            raise UserError(f"{pair.target} is there already; --force writes over what is there")
    return Places(pairs, True, "")


def _below(root: Path, out: Path, rename: Callable[[str], str]) -> Iterator[Pair]:
    """Every file below a folder, by name; ``out`` may lie in it, and is no part of it."""
    inside = out.resolve()
    for place, folders, files in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and Path(place, name).resolve() != inside
        )
        for name in sorted(files):
            path = Path(place, name)
            relative = path.relative_to(root)
            if not name.startswith("."):
                yield Pair(path, out / relative.with_name(rename(name)), str(relative))


def each(
    places: Places, task: Task, *, jobs: int, meant: Collection[str] = tuple(SUFFIXES)
) -> None:
    """Runs a task from each place to the other.

    Args:
      places: of `find`.
      task: to run.
      jobs: files at once.
      meant: suffixes of files in a folder that are not passed over where they are no audio.

    Raises:
      UserError: a file could not be done; of a folder, after all others.
    """
    if places.folder:
        _all(places.pairs, task, jobs, meant)
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
    with tempfile.TemporaryDirectory(prefix="aejax-") as place:
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


def _all(pairs: Sequence[Pair], task: Task, jobs: int, meant: Collection[str]) -> None:
    problems: list[str] = []
    done = 0

    def one(pair: Pair) -> str:
        pair.target.parent.mkdir(parents=True, exist_ok=True)
        return task(pair.source, pair.target)

    with ThreadPoolExecutor(jobs) as pool:
        calls = [(pair, pool.submit(one, pair)) for pair in pairs]
        try:
            for pair, call in bar(calls, desc="files", unit="file"):
                try:
                    say(pair.name, call.result())
                    done += 1
                except (UnusableAudio, UserError) as error:
                    # In a folder there may be other things than audio.
                    called = pair.source.suffix.lower() in meant
                    if called or not isinstance(error, NotAudio):
                        problems.append(f"{pair.name}: {plain(str(error))}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for problem in problems:
        warn(problem)
    if problems:
        raise UserError(f"{len(problems)} of {len(problems) + done} files could not be done")
    if not done:
        raise UserError("there is no file in it that can be read")
