"""FLAC (RFC 9639): its last frame and its number of samples."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from aejax.data.containers.link import (
    MOST_CHUNKS,
    Link,
    Source,
    contradiction,
    next_sound,
    truncated,
)
from aejax.data.unusable import UnusableAudio

MAGIC = b"fLaC"
_ANOTHER = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_LONGEST_HEADER = 16
_MOST_CHECKED = 2**23  # bytes to compute a CRC of; takes a second
_MOST_CANDIDATES = 2**19  # positions to test; takes a second
_TAIL = 2**16  # bytes searched at a time


def _table(polynomial: int, bits: int) -> list[int]:
    """The table of a CRC, by byte."""
    table = []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> bits - 1 else 0)
            crc &= (1 << bits) - 1
        table.append(crc)
    return table


_CRC_8, _CRC_16 = _table(0x07, 8), _table(0x8005, 16)


class _Info(NamedTuple):
    """The block STREAMINFO, and the position of the first frame."""

    block: int
    channels: int
    bits: int
    total: int
    first: int


class _Frame(NamedTuple):
    start: int  # byte of the file
    end: int  # its last sample plus 1


def walk(source: Source, start: int, stop: int) -> Link:
    """Finds the last frame, and corrects STREAMINFO if it has fewer samples or none.

    Raises:
      UnusableAudio: the sound is truncated, or damaged at its end.
    """
    info = _info(source, start, stop)
    if info is None:
        return Link.whole(source, start, stop)
    end = _another(source, info.first, stop)
    last = next(_backwards(source, info, end), None) if info.total else None
    if last is not None and last.end == info.total:
        end = next_sound(source, last.start, end)
        whole = start == 0 and end == source.size
        return Link(end, None if whole else (range(start, end),), info.total)
    total = _last_frame(source, info, end)
    if total < info.total:
        raise truncated(total, info.total, "frames")
    if total >> 36:
        raise contradiction(f"{total} frames")
    head = bytearray(source.at(start, 26))
    head[21] = head[21] & 0xF0 | total >> 32
    head[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    return Link(end, (bytes(head), range(start + 26, end)), total)


def _info(source: Source, start: int, stop: int) -> _Info | None:
    """The metadata; None if there is none."""
    data = source.at(start, 42)
    if len(data) < 42 or data[4] & 0x7F or data[5:8] != b"\0\0\x22":
        return None
    at, last = start + 4, False
    for _ in range(MOST_CHUNKS):
        head = source.at(at, 4)
        if last or len(head) < 4:
            break
        last = bool(head[0] & 0x80)
        at += 4 + int.from_bytes(head[1:], "big")
    if not last or at > stop:
        return None
    # Old encoders numbered blocks of varying size, so samples cannot be counted.
    if data[8:10] != data[10:12] and source.at(at, 2) == b"\xff\xf8":
        return None
    packed = int.from_bytes(data[18:26], "big")
    return _Info(
        block=int.from_bytes(data[10:12], "big"),
        channels=(packed >> 41 & 7) + 1,
        bits=(packed >> 36 & 31) + 1,
        total=packed & (1 << 36) - 1,
        first=at,
    )


def _another(source: Source, start: int, stop: int) -> int:
    """Start of another FLAC appended to this one; ``stop`` if there is none."""
    for at, data in source.blocks(start, stop, overlap=8):
        match = _ANOTHER.search(data)
        if match:
            return at + match.start()
    return stop


def _last_frame(source: Source, info: _Info, stop: int) -> int:
    """The number of samples up to the end of the last frame.

    Raises:
      UnusableAudio: the last frame is incomplete.
    """
    checked = 0
    for frame in _backwards(source, info, stop):
        checked += stop - frame.start
        if checked > _MOST_CHECKED:
            break
        if _crc(_CRC_16, 16, source.at(frame.start, stop - frame.start)) == 0:
            return frame.end
    raise UnusableAudio("damaged or truncated: a FLAC with an incomplete last frame")


def _backwards(source: Source, info: _Info, stop: int) -> Iterator[_Frame]:
    """Candidates of frame headers, the last first."""
    end, candidates = stop, 0
    while end > info.first:
        start = max(info.first, end - _TAIL)
        data = source.at(start, min(end + _LONGEST_HEADER, stop) - start)
        for match in reversed(list(_SYNC.finditer(data))):
            sample = _header(info, data[match.start() : match.start() + _LONGEST_HEADER])
            if sample:
                yield _Frame(start + match.start(), sample)
            candidates += 1
            if candidates > _MOST_CANDIDATES:
                raise UnusableAudio("damaged: a FLAC whose last frame cannot be found")
        end = start


def _header(info: _Info, data: bytes) -> int:
    """The end of a frame with this header, in samples; 0 if it is not a header (RFC 9639, section
    9.1)."""
    if len(data) < 6 or data[3] & 1:
        return 0
    size, rate, channels, bits = data[2] >> 4, data[2] & 15, data[3] >> 4, data[3] >> 1 & 7
    if not size or rate == 15 or bits == 3 or channels > 10:
        return 0
    if (channels + 1 if channels < 8 else 2) != info.channels:
        return 0
    if bits and (0, 8, 12, 0, 16, 20, 24, 32)[bits] != info.bits:
        return 0
    # The number is coded like a character in UTF-8, up to 36 bits.
    ones = 8 - (data[4] ^ 0xFF).bit_length()
    width = max(1, ones)
    if ones == 1 or ones > 7 or any(byte >> 6 != 2 for byte in data[5 : 4 + width]):
        return 0
    number = data[4] & (0x7F >> ones)
    for byte in data[5 : 4 + width]:
        number = number << 6 | byte & 63
    at = 4 + width
    if size in (6, 7):
        samples = int.from_bytes(data[at : at + size - 5], "big") + 1
        at += size - 5
    else:
        samples = 192 if size == 1 else 576 << size - 2 if size < 6 else 256 << size - 8
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if len(data) <= at or _crc(_CRC_8, 8, data[: at + 1]):
        return 0
    return samples + number * (1 if data[1] & 1 else info.block)


def _crc(table: list[int], bits: int, data: bytes) -> int:
    """The CRC of data that end with their own CRC: 0 if it is right."""
    crc, above = 0, bits - 8
    for byte in data:
        crc = (crc << 8 & 0xFF00 if above else 0) ^ table[crc >> above ^ byte]
    return crc
