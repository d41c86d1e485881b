"""A sound in a file, and access to its bytes."""

import bisect
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from aejax.data.unusable import UnusableAudio

MOST_CHUNKS = 2**14  # in a file; usually about ten
_BLOCK, _CACHE = 1 << 20, 1 << 13  # bytes read at a time
# Sizes within `_TOLERANCE` bytes of these are placeholders.
_UNKNOWN, _TOLERANCE = (2**31, 2**32, 2**63, 2**64), 2**16

# Magic numbers of containers, long enough not to match by chance. Separate patterns are many times
# faster than a single one.
_PATTERNS = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        *(name + rb".{4}WAVE" for name in (b"RIFF", b"RIFX", b"RF64", b"BW64")),
        rb"FORM.{4}(?:AIF[FC]|8SVX|16SV)",
        rb"\.snd\0\0",
        rb"dns\..{2}\0\0",
        rb"caff\0\x01\0\0",
        rb"fLaC[\0\x80]\0\0\x22",
        rb"OggS\0\x02",
        rb"riff\x2e\x91\xcf\x11\xa5\xd6",
    )
]
_LONGEST = 12
# Their first four bytes, which may be taken for the name of a chunk.
MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b".snd", b"caff", b"fLaC", b"OggS")


class Link(NamedTuple):
    """One sound in a file; concatenated files have several.

    Attributes:
      end: position in the file after its last byte.
      parts: input for a decoder, bytes and ranges of bytes of the file; None for the whole file.
      frames: samples of each channel according to the container; None if unknown.
      at_rate: Hz that ``frames`` are counted at; 0 for the sound's own rate.
      fewer, more: how many fewer or more frames an intact file may have.
      seeks: whether an excerpt can be decoded alone.
    """

    end: int
    parts: tuple[bytes | range, ...] | None = None
    frames: int | None = None
    at_rate: int = 0
    fewer: int = 0
    more: int = 2**63
    seeks: bool = True

    @staticmethod
    def whole(source: "Source", start: int, stop: int) -> "Link":
        """A sound of unknown length from byte ``start`` to ``stop``."""
        whole = start == 0 and stop == source.size
        return Link(stop, None if whole else (range(start, stop),))


class Source:
    """Random access to the bytes of an open file.

    Args:
      descriptor: of a regular file; it is not closed.
    """

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._first, self._cached = 0, b""

    def at(self, start: int, count: int) -> bytes:
        """``count`` bytes from ``start`` on, or fewer at the end of the file."""
        offset = start - self._first
        if not 0 <= offset <= len(self._cached) - count:
            if count >= _CACHE:
                return self._read(start, count)
            self._first, self._cached, offset = start, self._read(start, _CACHE), 0
        return self._cached[offset : offset + count]

    def _read(self, start: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, count, start)
        os.lseek(self._descriptor, start, os.SEEK_SET)
        return os.read(self._descriptor, count)

    def number(self, start: int, width: int, order: str = "little", *, signed: bool = False) -> int:
        """The integer in ``width`` bytes; 0 past the end of the file."""
        data = self.at(start, width)
        if len(data) < width:
            return 0
        return int.from_bytes(data, "big" if order == "big" else "little", signed=signed)

    def blocks(self, start: int, stop: int, overlap: int = 0) -> Iterator[tuple[int, bytes]]:
        """Overlapping blocks of the bytes from ``start`` to ``stop``, each with its position."""
        while start < stop:
            data = self.at(start, min(_BLOCK + overlap, stop - start))
            if not data:
                return
            yield start, data
            start += min(_BLOCK, len(data))

    def zeros(self, start: int, stop: int) -> bool:
        """Whether all bytes from ``start`` to ``stop`` are 0."""
        return not any(data.strip(b"\0") for _, data in self.blocks(start, stop))


class View:
    """Parts of a file as a file object for `soundfile`.

    Args:
      source: the file.
      parts: bytes and ranges of bytes, see `Link`.
    """

    def __init__(self, source: Source, parts: Sequence[bytes | range]):
        self._source, self._parts = source, list(parts)
        self._ends = list(itertools.accumulate(len(part) for part in parts))
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See `io.IOBase.seek`."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._ends[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """See `io.IOBase.tell`."""
        return self._position

    def read(self, count: int = -1) -> bytes:
        """See `io.RawIOBase.read`."""
        left = self._ends[-1] - self._position
        left, pieces = left if count < 0 else min(left, count), []
        while left > 0:
            index = bisect.bisect_right(self._ends, self._position)
            part, end = self._parts[index], self._ends[index]
            skip = self._position - (end - len(part))
            wanted = part[skip : skip + left]
            piece = (
                wanted if isinstance(wanted, bytes) else self._source.at(wanted.start, len(wanted))
            )
            if not piece:
                break
            pieces.append(piece)
            self._position += len(piece)
            left -= len(piece)
        return b"".join(pieces)

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase.readinto`."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def next_sound(source: Source, start: int, stop: int) -> int:
    """Start of the next sound after ``start``; ``stop`` if there is none."""
    for at, data in source.blocks(start, stop, overlap=_LONGEST):
        matches = filter(None, (pattern.search(data) for pattern in _PATTERNS))
        first = min((match.start() for match in matches), default=-1)
        if first >= 0:
            return at + first
    return stop


def truncated(actual: int, claimed: int, unit: str = "bytes") -> UnusableAudio:
    """The error for a file that is shorter than its header says."""
    return UnusableAudio(f"truncated: {actual} of {claimed} {unit}")


def contradiction(text: str) -> UnusableAudio:
    """The error for a file whose header contradicts itself."""
    return UnusableAudio(f"a header that contradicts itself: {text}")


def sound_size(claimed: int, rest: int, *, is_unknown: bool) -> int:
    """The number of bytes of sound.

    Args:
      claimed: size by the header.
      rest: bytes up to the end of the file.
      is_unknown: whether the header was written before the size was known; then all bytes are.

    Raises:
      UnusableAudio: the file has fewer bytes than claimed.
    """
    if is_unknown:
        return rest
    if not 0 <= claimed <= rest:
        raise truncated(rest, claimed)
    return claimed


def is_placeholder(size: int) -> bool:
    """Whether a size in a header stands for an unknown or too large one."""
    return any(abs(size - value) <= _TOLERANCE for value in _UNKNOWN)
