"""What libsndfile takes on trust in Ogg and MPEG files: every page, every frame."""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from aejax.data.audio_file import UnusableAudio

# Every byte with its bits the other way round, and as a table for `bytes.translate`.
_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def check_ogg(path: Path) -> None:
    """Checks every page: its CRC, that none is missing, and that each stream ends (RFC 3533).

    Raises:
      UnusableAudio: it does not hold.
    """
    numbers: dict[bytes, int] = {}
    open_streams: set[bytes] = set()
    with open(path, "rb") as file:
        while header := file.read(27):
            if len(header) < 27 or header[:4] != b"OggS":
                raise UnusableAudio("truncated: the Ogg stream breaks off")
            kind, serial = header[5], header[14:18]
            number = int.from_bytes(header[18:22], "little")
            sizes = file.read(header[26])
            body = file.read(sum(sizes))
            if len(sizes) < header[26] or len(body) < sum(sizes):
                raise UnusableAudio("truncated: the Ogg stream breaks off")
            page = header[:22] + bytes(4) + header[26:] + sizes + body
            if _ogg_crc(page) != int.from_bytes(header[22:26], "little"):
                raise UnusableAudio(f"damaged: page {number} of the Ogg stream")
            if number != numbers.get(serial, number - 1) + 1:
                raise UnusableAudio(f"damaged: a page before {number} of the Ogg stream is missing")
            numbers[serial] = number
            if kind & 4:
                open_streams.discard(serial)
            else:
                open_streams.add(serial)
    if open_streams:
        raise UnusableAudio("truncated: the Ogg stream has no end")


def _ogg_crc(data: bytes) -> int:
    """Ogg's CRC-32 takes bits from the other end than zlib's, begins at 0 and is not inverted."""
    turned = zlib.crc32(data.translate(_TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{turned:032b}"[::-1], 2)


class Mpeg(NamedTuple):
    """What the frames of an MPEG audio file say.

    Attributes:
      frames: how many, without the one that holds the Xing header.
      promised: how many the Xing (or Info, or VBRI) header speaks of; None without one.
      constant: whether all have the same bit rate, so that one can seek.
    """

    frames: int
    promised: int | None
    constant: bool


# kbit/s by (MPEG 1?, layer), index 1 to 14: ISO/IEC 11172-3 and 13818-3, table of bit rates.
_RATES = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def walk_mpeg(path: Path) -> Mpeg:
    """Goes from frame to frame through a whole file; what lies between two is stepped over."""
    count, rates, promised, first = 0, set(), None, True
    with open(path, "rb") as file:
        for rate, body in _mpeg_frames(file):
            if first:
                first, promised = False, _promised(body)
                if promised is not None:
                    continue
            count += 1
            rates.add(rate)
    return Mpeg(count, promised, len(rates) <= 1)


def _mpeg_frames(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The bit rate of each frame, and its bytes."""
    start = file.read(10).ljust(10, b"\0")
    if start[:3] == b"ID3":
        skip = 10
        for place, shift in enumerate((21, 14, 7, 0), start=6):
            skip += (start[place] & 0x7F) << shift
    else:
        skip = 0
    file.seek(skip)
    buffer, ended = b"", False
    while True:
        while len(buffer) < 1 << 13 and not ended:
            more = file.read(1 << 16)
            buffer, ended = buffer + more, not more
        size, rate = _mpeg_header(buffer[:4])
        if size:
            if len(buffer) >= size:
                yield rate, buffer[:size]
            buffer = buffer[size:]
        else:
            place = buffer.find(b"\xff", 1)
            buffer = buffer[place:] if place > 0 else b""
        if not buffer and ended:
            return


def _mpeg_header(header: bytes) -> tuple[int, int]:
    """The size of a frame in bytes and its bit rate in kbit/s; 0 and 0 if it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0, 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    index, hz, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or index in (0, 15) or hz == 3:
        return 0, 0
    rate = _RATES[version == 3, layer][index - 1]
    if layer == 1:
        return (12_000 * rate // _HZ[version][hz] + padding) * 4, rate
    slots = 72_000 if layer == 3 and version != 3 else 144_000
    return slots * rate // _HZ[version][hz] + padding, rate


def _promised(frame: bytes) -> int | None:
    """The number of frames in a Xing, Info or VBRI header; 0 if it does not say."""
    tag = re.search(rb"Xing|Info", frame[:64])
    if tag:
        fields = frame[tag.end() : tag.end() + 8]
        return int.from_bytes(fields[4:], "big") if fields[3] & 1 else 0
    place = frame[:64].find(b"VBRI")
    return int.from_bytes(frame[place + 14 : place + 18], "big") if place >= 0 else None
