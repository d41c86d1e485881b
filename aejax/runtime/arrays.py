"""Arrays with metadata in one ``.npz`` file."""

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.runtime import files
from aejax.runtime.errors import UserError, printable

_ABOUT = "about"
MOST_BYTES = 512 << 20
_MOST_MEMBERS = 32


def save(path: Path, about: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Writes arrays and metadata (as JSON) atomically."""
    text = json.dumps(about, allow_nan=False).encode()
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with files.atomic_write(path) as temporary, temporary.open("wb") as file:
        about_array = np.frombuffer(text, np.uint8)
        np.savez(file, **{_ABOUT: about_array}, **contiguous)  # type: ignore[arg-type]


def load(
    path: Path, most: int = MOST_BYTES, *, remedy: str = "delete it to do without"
) -> tuple[Any, dict[str, np.ndarray]]:
    """The metadata and arrays in a file written by `save`.

    Loads no Python objects, and allocates no more than the size of the file.

    Args:
      path: of the file.
      most: largest size, bytes.
      remedy: advice about a damaged file, for the error.

    Returns:
      The parsed metadata; the read-only arrays by name.

    Raises:
      UserError: the file is damaged or too large.
    """
    with files.open_regular(path, most) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
                total = sum(member.file_size for member in members)
                if not stored or total > file.seek(0, os.SEEK_END):
                    raise ValueError("compressed, or larger than the file")
                if len(members) > _MOST_MEMBERS:
                    raise ValueError(f"more than {_MOST_MEMBERS} arrays")
                loaded = {
                    member.filename.removesuffix(".npy"): _parse(archive.read(member))
                    for member in members
                }
            about = files.parse_json(loaded.pop(_ABOUT).tobytes())
        except KeyError as error:
            raise UserError(f"{path} is damaged (without {error}); {remedy}") from None
        except Exception as error:  # zipfile and NumPy raise many kinds on damaged files
            reason = printable(" ".join(str(error).split()))[:100]
            raise UserError(f"{path} is damaged ({reason}); {remedy}") from None
    return about, loaded


def _parse(data: bytes) -> np.ndarray:
    """The array in the bytes of an ``.npy`` file. `np.load` would allocate the size in the header
    before reading."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if version != (1, 0) or fortran_order or dtype.kind not in "biufV":
        raise ValueError("an array that aejax does not write")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)


def is_number(value: Any) -> bool:
    """Whether a value is an int or float in the range of JavaScript's numbers."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < 1e300  # Python's integers are unbounded, JavaScript's are not
    )


def pack_bytes(pieces: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Byte strings as two arrays: ``block`` uint8, their concatenation, and ``ends`` int64."""
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64).reshape(-1)
    return {"block": np.frombuffer(b"".join(pieces), np.uint8), "ends": ends}


def unpack_bytes(block: np.ndarray, ends: np.ndarray) -> list[bytes]:
    """The byte strings packed by `pack_bytes`.

    Raises:
      ValueError: the arrays are not made by `pack_bytes`.
    """
    if not are_packed(block, ends):
        raise ValueError("damaged byte strings")
    return [piece.tobytes() for piece in np.split(block, ends[:-1])][: len(ends)]


def are_packed(block: np.ndarray, ends: np.ndarray) -> bool:
    """Whether these arrays are a valid result of `pack_bytes`."""
    good = block.dtype == np.uint8 and ends.dtype == np.int64 and block.ndim == ends.ndim == 1
    if not good or (np.diff(ends, prepend=0) < 0).any():
        return False
    return len(block) == (int(ends[-1]) if len(ends) else 0)
