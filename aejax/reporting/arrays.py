"""Arrays and the facts about them in one ``.npz``: what a run leaves behind for its report."""

import json
import os
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from aejax.errors import UserError

_ABOUT = "about"
MOST_BYTES = 512 << 20
_MOST_MEMBERS = 32


def save(path: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays, and facts that go into JSON, whole or not at all."""
    text = json.dumps(about, allow_nan=False).encode()
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        np.savez(file, **{_ABOUT: np.frombuffer(text, np.uint8)}, **arrays)  # type: ignore[arg-type]
    beside.replace(path)


def load(path: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """Reads what `save` wrote: numbers alone, never objects, and never more than the file is long.

    Returns:
      The facts, parsed; the arrays by name.

    Raises:
      UserError: it is something else, or larger than `MOST_BYTES`.
    """
    with open_regular(path, MOST_BYTES) as file:
        try:
            with zipfile.ZipFile(file) as members:
                listed = members.infolist()
                if len(listed) > _MOST_MEMBERS or sum(x.file_size for x in listed) > MOST_BYTES:
                    raise ValueError("more than a run writes")
                found = {x.filename.removesuffix(".npy"): _read(members, x) for x in listed}
            about = parse(found.pop(_ABOUT).tobytes())
        except (
            ArithmeticError,
            EOFError,
            KeyError,
            MemoryError,
            NotImplementedError,
            OSError,
            RuntimeError,
            SyntaxError,
            TypeError,
            ValueError,
            zipfile.BadZipFile,
        ) as error:
            raise UserError(f"{path} is damaged ({error}); delete it to do without") from None
    return about, found


def _read(members: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    with members.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{member.filename} is of another version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        count = int(np.prod(shape, dtype=object))
        good = dtype.kind in "iuf" and not fortran and min(shape, default=0) >= 0
        if not good or count * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} is not what it says")
        data = file.read(count * dtype.itemsize)
    return np.frombuffer(data, dtype, count).reshape(shape)


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


def parse(text: bytes) -> Any:
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


def is_number(value: Any) -> bool:
    """An int or a float that is of a size that a page knows."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < 1e300  # Python's integers have no bound, a page's numbers do
    )


def pack_bytes(pieces: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Many pieces as two arrays: ``block`` uint8 of all of them, ``ends`` int64 of each."""
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64).reshape(-1)
    return {"block": np.frombuffer(b"".join(pieces), np.uint8), "ends": ends}


def unpack_bytes(block: np.ndarray, ends: np.ndarray) -> list[bytes]:
    """The pieces that `pack_bytes` was given.

    Raises:
      ValueError: the arrays are something else.
    """
    good = block.dtype == np.uint8 and ends.dtype == np.int64 and block.ndim == ends.ndim == 1
    if not good or (np.diff(ends, prepend=0) < 0).any() or (len(ends) and ends[-1] != len(block)):
        raise ValueError("pieces that overlap")
    whole = block.tobytes()
    return [
        whole[start:end] for start, end in zip([0, *ends.tolist()], ends.tolist(), strict=False)
    ]
