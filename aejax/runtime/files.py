"""Files that are read within bounds, and files that are written whole or not at all."""

import contextlib
import io
import json
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

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


def open_regular(path: Path, most: int, *, follow: bool = False) -> io.BufferedReader:
    """Opens a regular file for reading that is no longer than ``most`` bytes.

    Args:
      path: of the file. It may lie in a folder that is a link.
      most: bytes.
      follow: whether it may be a link itself.

    Raises:
      UserError: it is something else, or cannot be opened.
    """
    file = _open(path, os.O_RDONLY | (0 if follow else _NO_LINK), "rb")
    if os.fstat(file.fileno()).st_size > most:
        file.close()
        raise UserError(f"{path} is above {most >> 20} MiB; it is no file of a run")
    return file


def open_lock(path: Path) -> io.FileIO:
    """Opens a regular file to hold a lock on, which is made if it is not there, and no link.

    Raises:
      UserError: it is something else, or cannot be opened.
    """
    return _open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, "rb+")


_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def _open(path: Path, flags: int, mode: str) -> Any:
    """Opens what is a regular file, without waiting for anyone at the other end of what is not."""
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise UserError(f"{path} cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is no regular file; it is no file of a run")
    return os.fdopen(descriptor, mode, buffering=-1 if mode == "rb" else 0)


def read_json(path: Path, most: int) -> Any:
    """The parsed JSON of a regular file of at most ``most`` bytes; see `parse_json`.

    Raises:
      UserError: it is something else.
    """
    with open_regular(path, most) as file:
        try:
            return parse_json(file.read())
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error})") from None


def read_object(path: Path, most: int) -> dict[str, Any]:
    """`read_json` of a file that holds one object.

    Raises:
      UserError: it is something else.
    """
    found = read_json(path, most)
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged (no JSON object)")
    return found


_MOST_LINE = 1 << 16


def read_lines(path: Path, most: int) -> Iterator[dict[str, Any] | str]:
    """The JSON objects of a regular file of at most ``most`` bytes with one in each line; of a line
    that is something else, what is wrong with it. A last line cut short is left out.

    Raises:
      UserError: it is something else.
    """
    with open_regular(path, most) as file:
        number = 0
        while line := file.readline(_MOST_LINE):
            number += 1
            whole = line.endswith(b"\n")
            if not whole and len(line) == _MOST_LINE:
                yield f"{path}, line {number} is longer than {_MOST_LINE} bytes"
                while (rest := file.readline(_MOST_LINE)) and not rest.endswith(b"\n"):
                    pass
                continue
            try:
                found = parse_json(line)
            except ValueError as error:
                if whole:
                    yield f"{path}, line {number} is damaged ({error})"
                continue
            good = isinstance(found, dict)
            yield found if good else f"{path}, line {number} is damaged (no JSON object)"


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
