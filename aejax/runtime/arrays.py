"""Arrays with metadata in one ``.npz``, for a run's report."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.runtime import files
from aejax.runtime.errors import UserError, plain

_ABOUT = "about"
MOST_BYTES = 512 << 20
_MOST_MEMBERS = 32


def save(path: Path, about: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Writes arrays and metadata (as JSON) atomically."""
    text = json.dumps(about, allow_nan=False).encode()
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with files.replacing(path) as beside, beside.open("wb") as file:
        np.savez(file, **{_ABOUT: np.frombuffer(text, np.uint8)}, **plain)  # type: ignore[arg-type]


def load(
    path: Path, most: int = MOST_BYTES, *, remedy: str = "delete it to do without"
) -> tuple[Any, dict[str, np.ndarray]]:
    """Reads a file written by `save`: numbers, never objects, and never more than its size.

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
            with zipfile.ZipFile(file) as members:
                listed = members.infolist()
                if len(listed) > _MOST_MEMBERS or sum(x.file_size for x in listed) > most:
                    raise ValueError("more than a run writes")
                loaded = {x.filename.removesuffix(".npy"): _read(members, x) for x in listed}
            about = files.parse_json(loaded.pop(_ABOUT).tobytes())
        except KeyError as error:
            raise UserError(f"{path} is damaged (without {error}); {remedy}") from None
        except Exception as error:  # zipfile and NumPy raise many kinds on damaged files
            reason = plain(" ".join(str(error).split()))[:100]
            raise UserError(f"{path} is damaged ({reason}); {remedy}") from None
    return about, loaded


def _read(members: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    with members.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{member.filename} is of another version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        count = int(np.prod(shape, dtype=object))
        good = dtype.kind in "biufV" and not dtype.hasobject and dtype.itemsize > 0
        good = good and not fortran and min(shape, default=0) >= 0
        if not good or count * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} is not what it says")
        data = file.read(count * dtype.itemsize)
        if file.read(1):  # reading to the end also checks the checksum
            raise ValueError(f"{member.filename} is not what it says")
    return np.frombuffer(data, dtype, count).reshape(shape)


def is_number(value: Any) -> bool:
    """Whether a value is an int or float that JavaScript can represent."""
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
    good = block.dtype == np.uint8 and ends.dtype == np.int64 and block.ndim == ends.ndim == 1
    if not good or (np.diff(ends, prepend=0) < 0).any() or (len(ends) and ends[-1] != len(block)):
        raise ValueError("pieces that overlap")
    whole = block.tobytes()
    return [
        whole[start:end] for start, end in zip([0, *ends.tolist()], ends.tolist(), strict=False)
    ]
