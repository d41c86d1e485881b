"""Files that are read within bounds, and files that are written whole or not at all."""

import contextlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from aejax.errors import DiskFull, UserError, no_room
from aejax.runtime import stopping

fcntl: Any
try:
    import fcntl
except ImportError:
    fcntl = None

_TEMPORARY = ".aejax-", ".part"  # how the names of files that are being written begin and end


def expand(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` and ``~user`` replaced by a home directory.

    Raises:
      UserError: nobody is called so.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such home directory") from None


def is_temporary(name: str) -> bool:
    """Whether a file of that name is what a killed process left of `replacing`."""
    return name.startswith(_TEMPORARY[0]) and name.endswith(_TEMPORARY[1])


@contextlib.contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Has a full disk, which every library has an error of its own for, be a line on ``path``.

    Raises:
      DiskFull: there is no room.
    """
    try:
        yield
    except Exception as error:
        reason = no_room(error)
        if not reason:
            raise
        raise DiskFull(
            f"no room to write {path} ({reason}); make some, and give the same command again"
        ) from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new empty file in the same folder, which is renamed to ``path`` at the end of the block.

    Its name is new, so that nothing of anyone's is written over; permissions are those of any new
    file. After an exception it is deleted, and ``path`` is as it was.
    """
    beside = _beside(path)
    with room_for(path), stopping.at_end(lambda: beside.unlink(missing_ok=True)):
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield beside
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new empty folder beside ``path``, which is renamed to it at the end of the block, in place
    of what was there at its beginning. After an exception ``path`` is as it was."""
    beside, replaces = _beside(path), os.path.lexists(path)

    def remove() -> None:
        shutil.rmtree(beside, ignore_errors=True)

    with room_for(path), stopping.at_end(remove):
        beside.mkdir()
        try:
            yield beside
            if replaces:
                # Moved away first: deleting takes time, in which a kill would leave half a folder.
                old = path.rename(_beside(path))
                beside.rename(path)
                _remove(old)
            else:
                beside.rename(path)
        finally:
            remove()


def _beside(path: Path) -> Path:
    return path.with_name(secrets.token_hex(8).join(_TEMPORARY))


def is_empty(folder: Path, *, beside: Collection[str] = ()) -> bool:
    """Whether a folder holds nothing but what killed processes left, and files of these names."""
    return all(is_temporary(path.name) or path.name in beside for path in folder.iterdir())


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes of aejax out of a folder; what killed ones left there is deleted.

    Raises:
      UserError: another process holds it.
    """
    if fcntl is None:  # no locks of this kind on this system
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process is writing to {folder}; wait for it") from None
        remove_temporary(folder)
        yield
    finally:
        os.close(descriptor)


def remove_temporary(folder: Path) -> None:
    """Deletes what killed processes left of `replacing` and `replacing_folder` in a folder that no
    other process writes to."""
    for path in folder.iterdir():
        if is_temporary(path.name):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all."""
    with replacing(path) as beside:
        # What is no Unicode, as names of files may be, is made visible.
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def open_regular(path: Path, most: int) -> BinaryIO:
    """Opens a regular file for reading that is no longer than ``most`` bytes and no link.

    Raises:
      UserError: it is something else, or cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from None
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size > most:
        file.close()
        kind = "no regular file" if not stat.S_ISREG(status.st_mode) else f"above {most >> 20} MiB"
        raise UserError(f"{path} is {kind}; it is no file of a run")
    return file


def read_json(path: Path, most: int) -> Any:
    """The parsed JSON of a regular file of at most ``most`` bytes; see `parse_json`.

    Raises:
      UserError: it is something else.
    """
    with open_regular(path, most) as file:
        try:
            return parse_json(file.read(most))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read as JSON ({error})") from None


def parse_json(text: bytes) -> Any:
    """JSON of finite numbers; text that is not Unicode is made visible.

    Raises:
      ValueError: it is not that.
    """
    try:
        return _clean(
            json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_integer)
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def _integer(text: str) -> int:
    if len(text) > 30:
        raise ValueError(f"{text[:20]}... is too long a number")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not abs(value) < float("inf"):
        raise ValueError(f"{text[:20]} is not finite")
    return value


def _clean(value: Any) -> Any:
    """Without lone surrogates, which names of files may have and UTF-8 does not."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_clean(key): _clean(inner) for key, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, list) else value
