"""The walk through a folder of audio, for training, `aejax inspect` and every task."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

from aejax.data.audio_file import OUT_OF_REACH, SUFFIXES
from aejax.runtime import files

HIDDEN = "hidden: its name, or its folder's, begins with a dot"
LINKED = "links to a folder that is already searched"
_RUN_FILES = {"config.json", "corpus.json", "pca.npz"}

_Identity: TypeAlias = tuple[int, int] | None  # device and inode; None if unknown
_Folder: TypeAlias = tuple[str, _Identity]  # path below the root


class Entry(NamedTuple):
    """A file below a folder, or the reason why it is skipped.

    Attributes:
      name: its path below the folder; paths of folders end with ``/``.
      bytes: its size; -1 if there is a problem.
      modified_ns: its modification time; 0 if there is a problem.
      problem: the reason why it is skipped; "" if it is not.
    """

    name: str
    bytes: int
    modified_ns: int
    problem: str = ""


def has_suffix(name: str, suffixes: Collection[str] = SUFFIXES) -> bool:
    """Whether a file name has one of the suffixes, by default those of audio."""
    return os.path.splitext(name)[1].lower() in suffixes


def walk(
    root: Path,
    *,
    suffixes: Collection[str] = SUFFIXES,
    runs: bool = False,
    exclude: Path | None = None,
) -> Iterator[Entry]:
    """Every file below a folder, and the files and folders that are skipped, with reasons.

    Links are followed, except to folders that are already searched or contain ``root``. Hidden
    files are listed only if they have one of the suffixes.

    Args:
      root: the folder.
      suffixes: of the files to find.
      runs: whether to enter folders of aejax's own runs.
      exclude: a folder to skip.
    """
    ancestors = [_identity(parent) for parent in (root, *root.resolve().parents)]
    known = {*ancestors, *([_identity(exclude)] if exclude is not None else [])}
    folders: list[_Folder] = [("", _identity(root))]
    hidden_folders: list[_Folder] = []
    while folders or hidden_folders:
        hidden_folder = not folders  # last, since other folders may be links to these
        below, identity = (folders or hidden_folders).pop()
        if hidden_folder and identity in known:
            continue
        known.add(identity)
        try:
            with os.scandir(os.path.join(root, below)) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield _skipped(f"{below}/", _out_of_reach(error))
            continue
        if not runs and {entry.name for entry in inside} >= _RUN_FILES:
            continue
        deeper: list[_Folder] = []
        for entry in inside:
            name = f"{below}/{entry.name}" if below else entry.name
            hidden = hidden_folder or entry.name.startswith(".")
            try:
                status = entry.stat()
                identity = status.st_dev, status.st_ino
                if not entry.is_dir():
                    if not hidden:
                        yield Entry(name, status.st_size, status.st_mtime_ns)
                    elif has_suffix(name, suffixes) and not files.is_temporary(entry.name):
                        yield _skipped(name, HIDDEN)
                elif hidden:
                    hidden_folders.append((name, identity))
                elif identity not in known:
                    known.add(identity)
                    deeper.append((name, identity))
                elif entry.is_symlink():
                    yield _skipped(f"{name}/", LINKED)
            except OSError as error:  # a broken or circular link
                if not hidden:
                    yield _skipped(name, _out_of_reach(error))
        folders += reversed(deeper)


def _identity(path: Path) -> _Identity:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _skipped(name: str, problem: str) -> Entry:
    return Entry(name, -1, 0, problem)


def _out_of_reach(error: OSError) -> str:
    return f"{OUT_OF_REACH}: {error.strerror or error}"
