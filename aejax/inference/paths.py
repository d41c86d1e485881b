"""Input and output files of a task: one file, all files of a folder, or pipes."""

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
from aejax.runtime import files, stopping, words
from aejax.runtime.errors import UserError, one_line
from aejax.runtime.progress import bar, note, warn

PIPE = "-"
# System folders; /dev/fd links into /proc.
_SYSTEM_FOLDERS = (("/", "proc"), ("/", "sys"), ("/", "dev"))

# Reads the first path and writes the second atomically; returns a message, or "".
Task = Callable[[Path, Path], str]


class Pair(NamedTuple):
    """An input file, its output file, and the name of the input in messages."""

    source: Path
    target: Path
    name: str


class Paths(NamedTuple):
    """All input and output files of a task.

    Attributes:
      pairs: input and output files.
      is_folder: whether the inputs are all files of a folder; files that are not audio are skipped.
      piped: suffix of the output, if standard input or output is used; else "".
      suffixes: suffixes of inputs; in a folder, unreadable files with one of them are errors.
      skipped: other entries of the folder, with the reasons.
    """

    pairs: list[Pair]
    is_folder: bool
    piped: str
    suffixes: Collection[str] = ()
    skipped: Mapping[str, str] = {}


def find(
    source: str,
    target: str,
    *,
    rename: Callable[[str], str],
    piped: str,
    force: bool,
    suffixes: Collection[str] = SUFFIXES,
) -> Paths:
    """The input and output files of a task; no file is read.

    Args:
      source: a file, a folder, or ``-`` for standard input.
      target: a file, or a folder if ``source`` is one (created if missing); ``-`` for standard
        output.
      rename: returns the name of an output file for an input file of a folder.
      piped: suffix of the output, if standard input or output is used.
      force: whether to overwrite existing files; replaces a link, not its target.
      suffixes: suffixes of inputs; in a folder, unreadable files with one of them are errors.

    Raises:
      UserError: ``source`` does not exist, or ``target`` exists or cannot be written.
    """
    root, out = files.expand(source), files.expand(target)
    if source != PIPE and not root.exists():
        raise UserError(f"{source} does not exist")
    if source != PIPE and root.is_dir():
        return _find_all(root, out, rename, force, suffixes)
    if target != PIPE:
        check_free([root], out, force=force)
    return Paths([Pair(root, out, source)], False, piped if PIPE in (source, target) else "")


def check_free(sources: Sequence[Path], target: Path, *, force: bool) -> None:
    """Checks that ``target`` can be written.

    Raises:
      UserError: it exists without ``force``, is one of the sources, or cannot be written.
    """
    if os.path.lexists(target):
        if target.is_dir():
            raise UserError(f"{target} is a folder; give another name")
        if any(source.exists() and os.path.samefile(source, target) for source in sources):
            raise UserError(f"{target} is the input; give another output file")
        if target.exists() and not target.is_file():
            raise UserError(f"{target} is not a regular file; give another name")
        if not force:
            raise UserError(f"{target} exists; --force overwrites it")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent} is not an existing folder")
    folder = target.parent.resolve().parts
    if folder in _SYSTEM_FOLDERS or folder[:2] in _SYSTEM_FOLDERS[:2]:
        raise UserError(f"{target} is in a system folder; give another name")


def _find_all(
    root: Path, out: Path, rename: Callable[[str], str], force: bool, suffixes: Collection[str]
) -> Paths:
    if str(out) == PIPE or (os.path.lexists(out) and not out.is_dir()):
        raise UserError(f"{root} is a folder; the output must be a folder too, not {out}")
    if out.exists() and os.path.samefile(root, out):
        raise UserError(f"{out} is the input; give another output folder")
    pairs: list[Pair] = []
    problems: dict[str, str] = {}
    for entry in walk.walk(root, suffixes=suffixes, runs=True, exclude=out):
        target = out / entry.name
        pair = Pair(root / entry.name, target.with_name(rename(target.name)), entry.name)
        if entry.problem:
            problems[entry.name] = entry.problem
        elif os.path.lexists(pair.target) and not force:
            raise UserError(f"{pair.target} exists; --force overwrites it")
        else:
            pairs.append(pair)
    return Paths(pairs, True, "", suffixes, problems)


def run_task(paths: Paths, task: Task, *, jobs: int) -> None:
    """Runs a task on each pair of files.

    Args:
      paths: from `find`.
      task: the task.
      jobs: number of files processed at once.

    Raises:
      UserError: a file failed; in a folder, after all others have run.
    """
    if paths.is_folder:
        _run_all(paths, task, jobs)
        return
    (pair,) = paths.pairs
    with named(pair.name):
        if not paths.piped:
            say(pair.name, task(pair.source, pair.target))
            return
        with _as_files(pair, paths.piped) as (source, target):
            say(pair.name, task(source, target))


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Turns `UnusableAudio` into a UserError with the name of the file."""
    try:
        yield
    except UnusableAudio as error:
        raise UserError(f"{name}: {error}") from None


def say(name: str, line: str) -> None:
    """Prints a message about a file on standard error; standard output may be the output file."""
    if line:
        note(f"{name}: {line}")


@contextlib.contextmanager
def _as_files(pair: Pair, suffix: str) -> Iterator[tuple[Path, Path]]:
    """Replaces pipes, which cannot seek, by temporary files."""
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


def _run_all(paths: Paths, task: Task, jobs: int) -> None:
    """Runs a task on every file of a folder; errors are raised at the end."""
    problems: list[str] = []
    done = 0

    def run(pair: Pair) -> str:
        pair.target.parent.mkdir(parents=True, exist_ok=True)
        check_free([pair.source], pair.target, force=True)
        return task(pair.source, pair.target)

    with ThreadPoolExecutor(jobs) as pool:
        calls = [(pair, pool.submit(run, pair)) for pair in paths.pairs]
        try:
            for pair, call in bar(calls, desc="files", unit="file"):
                error = call.exception()
                if error is None:
                    say(pair.name, call.result())
                    done += 1
                # Files that are not audio are skipped.
                elif not isinstance(error, NotAudio) or walk.has_suffix(pair.name, paths.suffixes):
                    problems.append(f"{pair.name}: {_reason(error)}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for name, reason in paths.skipped.items():
        if reason.startswith((walk.HIDDEN, walk.LINKED)):
            note(f"skipped: {name}: {reason}")
        elif name.endswith("/") or walk.has_suffix(name, paths.suffixes):
            problems.append(f"{name}: {reason}")
    for problem in problems:
        warn(problem)
    if problems:
        raise UserError(f"{len(problems)} of {words.count(len(problems) + done, 'file')} failed")
    if not done:
        raise UserError("the folder has no readable audio")


def _reason(error: BaseException) -> str:
    """The message of an error, in one line."""
    if isinstance(error, (UnusableAudio, UserError)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(error)
