"""Reading of files within bounds, and atomic writing."""

import contextlib
import io
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from aejax.runtime import stopping
from aejax.runtime.errors import DiskFull, UserError, full_disk_reason

fcntl: Any
try:
    import fcntl
except ImportError:
    fcntl = None

_TEMPORARY = ".aejax-", ".part"  # prefix and suffix of files being written


_writes = True  # whether this process writes files


def only_read() -> None:
    """Makes this process write no files: another one writes the same."""
    global _writes
    _writes = False


def expand(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` and ``~user`` replaced by a home directory.

    Raises:
      UserError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such home directory") from None


def is_temporary(name: str) -> bool:
    """Whether this is the name of a temporary file of `atomic_write`."""
    return name.startswith(_TEMPORARY[0]) and name.endswith(_TEMPORARY[1])


@contextlib.contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turns any library's error about a full disk into a `DiskFull` that names ``path``.

    Raises:
      DiskFull: the disk is full.
    """
    try:
        yield
    except Exception as error:
        reason = full_disk_reason(error)
        if not reason:
            raise
        raise DiskFull(
            f"no room to write {path} ({reason}); free some, and repeat the command"
        ) from None


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A new empty file in the same folder, renamed to ``path`` at the end of the block.

    It has a unique name and the permissions of any new file. After an exception it is deleted, and
    ``path`` is unchanged. Of several processes of a run, only the main one writes: in the others
    the file is elsewhere, and deleted.
    """
    if not _writes:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder, path.name)
        return
    temporary = _temporary_path(path)
    with explain_full_disk(path), stopping.at_end(lambda: temporary.unlink(missing_ok=True)):
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new empty folder beside ``path``, renamed to ``path`` at the end of the block.

    Replaces a ``path`` that existed at the beginning of the block. After an exception it is
    unchanged. Only the main process writes, as for `atomic_write`.
    """
    if not _writes:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    temporary, exists = _temporary_path(path), os.path.lexists(path)

    def remove() -> None:
        shutil.rmtree(temporary, ignore_errors=True)

    with explain_full_disk(path), stopping.at_end(remove):
        temporary.mkdir()
        try:
            yield temporary
            if exists:
                # Renamed first: a kill while deleting would leave half a folder.
                old = path.rename(_temporary_path(path))
                temporary.rename(path)
                _remove(old)
            else:
                temporary.rename(path)
        finally:
            remove()


def _temporary_path(path: Path) -> Path:
    return path.with_name(secrets.token_hex(8).join(_TEMPORARY))


def is_empty(folder: Path, *, beside: Collection[str] = ()) -> bool:
    """Whether a folder holds only temporary files and files of these names."""
    return all(is_temporary(path.name) or path.name in beside for path in folder.iterdir())


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Locks a folder against other processes of aejax, and deletes temporary files in it.

    Raises:
      UserError: another process has locked it.
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
    """Deletes temporary files of `atomic_write` and `atomic_folder` in a folder that no other
    process writes to."""
    for path in folder.iterdir():
        if is_temporary(path.name):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, atomically."""
    with atomic_write(path) as temporary:
        # Names of files may not be Unicode; such bytes are escaped.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def open_regular(path: Path, most: int, *, follow: bool = False) -> io.BufferedReader:
    """Opens a regular file for reading that is no longer than ``most`` bytes.

    Args:
      path: of the file. Its folder may be a link.
      most: largest size, bytes.
      follow: whether the file itself may be a link.

    Raises:
      UserError: it is not a regular file, too large, or cannot be opened.
    """
    file = _open(path, os.O_RDONLY | (0 if follow else _NO_LINK), "rb")
    if os.fstat(file.fileno()).st_size > most:
        file.close()
        raise UserError(f"{path} is larger than {most >> 20} MiB, so it is not a file of a run")
    return file


def open_lock(path: Path) -> io.FileIO:
    """Opens a regular file for locking; creates it if it does not exist, and follows no link.

    Raises:
      UserError: it is not a regular file, or cannot be opened.
    """
    return _open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, "rb+")


_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def _open(path: Path, flags: int, mode: str) -> Any:
    """Opens a regular file; does not block on a pipe."""
    flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise UserError(f"{path} cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is not a regular file, so it is not a file of a run")
    return os.fdopen(descriptor, mode, buffering=-1 if mode == "rb" else 0)


def read_json(path: Path, most: int) -> Any:
    """The parsed JSON of a regular file of at most ``most`` bytes; see `parse_json`.

    Raises:
      UserError: the file is damaged or too large.
    """
    with open_regular(path, most) as file:
        try:
            return parse_json(file.read())
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error})") from None


def read_object(path: Path, most: int) -> dict[str, Any]:
    """The JSON object in a file; see `read_json`.

    Raises:
      UserError: the file is damaged, too large or holds something else.
    """
    content = read_json(path, most)
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (no JSON object)")
    return content


_MOST_LINE = 1 << 16


def read_lines(path: Path, most: int) -> Iterator[dict[str, Any] | str]:
    """The JSON object in each line of a regular file, or a message if the line is damaged.

    An incomplete last line is left out.

    Raises:
      UserError: it is not a regular file, too large, or cannot be opened.
    """
    with open_regular(path, most) as file:
        for number, line in enumerate(iter(lambda: file.readline(_MOST_LINE), b""), 1):
            whole = line.endswith(b"\n")
            if not whole and len(line) == _MOST_LINE:
                yield f"{path}, line {number} is longer than {_MOST_LINE} bytes"
                while (rest := file.readline(_MOST_LINE)) and not rest.endswith(b"\n"):
                    pass
                continue
            try:
                content = parse_json(line)
            except ValueError as error:
                if whole:
                    yield f"{path}, line {number} is damaged ({error})"
                continue
            yield (
                content
                if isinstance(content, dict)
                else f"{path}, line {number} is damaged (no JSON object)"
            )


def parse_json(text: bytes) -> Any:
    """Parsed JSON with finite numbers only; lone surrogates are escaped.

    Raises:
      ValueError: the text is not JSON, or has other numbers.
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
    """A JSON value with lone surrogates escaped, which file names may contain but UTF-8 may not."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_clean(key): _clean(inner) for key, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, list) else value
