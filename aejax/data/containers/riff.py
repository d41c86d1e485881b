"""WAV, WAVE_FORMAT_EXTENSIBLE, RIFX, RF64 and BW64: chunks and their real sizes.

Sources: Microsoft and IBM, Multimedia Programming Interface 1.0; EBU Tech 3306; ITU-R BS.2088.
"""

import itertools
import re
from typing import Literal, NamedTuple

from aejax.data.containers.link import (
    MAGICS,
    MOST_CHUNKS,
    Link,
    Source,
    contradiction,
    is_placeholder,
    sound_size,
)

MAGIC = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_FULL = 0xFFFFFFFF  # "see ds64"
# Chunks that may follow sound of unknown length.
_TRAILING = rb"LIST|id3 |ID3 |bext|iXML|cue |PEAK|afsp|_PMX|smpl|inst|JUNK|DISP|axml|chna"
_MOST_TRAILING = 64

Order = Literal["little", "big"]


class Header(NamedTuple):
    """Byte order, and the contents of the chunks "fmt " and "fact"."""

    order: Order = "little"
    form: bytes = b""
    fact: bytes = b""


def walk(source: Source, start: int, stop: int) -> Link:
    """Parses the chunks from ``start`` on into a `Link`.

    Raises:
      UnusableAudio: the sound is truncated, or contradicts itself.
    """
    magic = source.at(start, 4)
    # as_is: whether libsndfile reads the sound correctly without a rebuilt header.
    header = Header("big" if magic == b"RIFX" else "little")
    outer, wide, as_is = source.number(start + 4, 4, header.order), 0, magic != b"BW64"
    sound: list[range] = []
    tested, at, end = False, start + 12, stop
    for _ in range(MOST_CHUNKS):
        name, size = source.at(at, 4), source.number(at + 4, 4, header.order)
        body = at + 8
        if not _is_name(name) or name in MAGICS or body + size > stop and name != b"data":
            break
        if name == b"ds64":
            wide = body
        elif name == b"fmt " and not header.form:
            header = header._replace(form=source.at(body, min(size, 4096)))
            as_is &= not sound
        elif name == b"fact":
            header = header._replace(fact=source.at(body, min(size, 4096)))
        elif name == b"data":
            claimed = source.number(wide + 8, 8) if wide and size == _FULL else size
            as_is &= not sound and bool(wide) == (size == _FULL)
            is_unknown = is_placeholder(claimed)
            if claimed == 0 and not tested:  # once: later chunks give the same answer
                tested, is_unknown = True, not only_chunks(source, body, stop, header.order)
            size = sound_size(claimed, stop - body, is_unknown=is_unknown)
            if is_unknown and size != claimed:
                size -= _trailing_size(source, stop, header.order)
            as_is &= size == claimed
            sound.append(range(body, body + size))
        end = min(body + size, stop)
        at = next_chunk(source, body + size, stop, header.order)
        as_is &= bool(sound) or at == body + size + (size & 1)
    sound = [part for part in sound if part]
    if not sound or not header.form:
        return Link.whole(source, start, stop)
    if wide and outer == _FULL:
        outer = source.number(wide, 8)
    refuse_rest(source, at, min(stop, start + 8 + outer))
    frames = frames_of(header, sum(map(len, sound)))
    return Link(end, None if as_is and start == 0 else rebuilt(header, sound), frames)


def is_chunk(source: Source, at: int, stop: int, order: Order) -> bool:
    """Whether a chunk that fits, or the end of the file, is at ``at``."""
    head = source.at(at, 8)
    return at + 8 > stop or _is_name(head[:4]) and int.from_bytes(head[4:], order) <= stop - at - 8


def next_chunk(source: Source, end: int, stop: int, order: Order) -> int:
    """Start of the chunk after one that ends at ``end``: the next even byte, or ``end`` itself if
    the writer left out the padding."""
    even = end + (end & 1)
    odd = end & 1 and not is_chunk(source, even, stop, order) and is_chunk(source, end, stop, order)
    return end if odd else even


def only_chunks(source: Source, at: int, stop: int, order: Order) -> bool:
    """Whether the bytes from ``at`` on are chunks."""
    for _ in range(MOST_CHUNKS):
        if not is_chunk(source, at, stop, order):
            return False
        if at + 8 > stop:
            return True
        size = source.number(at + 4, 4, order)
        at += 8 + size + (size & 1)
    return True


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _trailing_size(source: Source, stop: int, order: Order) -> int:
    """Size of the chunks after sound of unknown length; they end with the file."""
    first = max(0, stop - 2**16)
    tail = source.at(first, stop - first)
    for match in itertools.islice(re.finditer(_TRAILING, tail), _MOST_TRAILING):
        if only_chunks(source, first + match.start(), stop, order):
            return stop - first - match.start()
    return 0


def refuse_rest(source: Source, at: int, stop: int) -> None:
    """Raises if the bytes after the sound are not a chunk: the size in the header is too small."""
    if stop - at > 8 and not _is_name(source.at(at, 4)) and not source.zeros(at, stop):
        raise contradiction(f"{stop - at} bytes after the sound are of no known kind")


def frames_of(header: Header, size: int) -> int | None:
    """Samples of each channel, None if they have no fixed size; checks the format for
    contradictions."""

    def value(start: int, width: int) -> int:
        return int.from_bytes(header.form[start : start + width], header.order)

    kind, channels, rate, byte_rate = value(0, 2), value(2, 2), value(4, 4), value(8, 4)
    align, bits = value(12, 2), value(14, 2)
    if kind in (_PCM, _FLOAT, _EXTENSIBLE) and channels and len(header.form) >= 16:
        if align != channels * -(-bits // 8):
            raise contradiction(f"{channels} channels of {bits} bits in {align} bytes")
        if byte_rate and rate and byte_rate != rate * align % 2**32:
            raise contradiction(
                f"{byte_rate} bytes a second, not {rate} times {align}, {rate * align}"
            )
    if kind == _EXTENSIBLE:
        kind = value(24, 2)
    return size // align if kind in (_PCM, _FLOAT, _ALAW, _MULAW) and align else None


def rebuilt(header: Header, sound: list[range]) -> tuple[bytes | range, ...]:
    """The sound after a corrected header, see `Link.parts`."""
    size = sum(map(len, sound))

    def number(value: int, width: int = 4) -> bytes:
        return value.to_bytes(width, header.order)

    def chunk(name: bytes, body: bytes) -> bytes:
        return name + number(len(body)) + body + b"\0" * (len(body) & 1)

    inner = chunk(b"fmt ", header.form) + (chunk(b"fact", header.fact) if header.fact else b"")
    outer = 4 + len(inner) + 8 + size
    if outer < _FULL:
        magic = b"RIFX" if header.order == "big" else b"RIFF"
        return (magic + number(outer) + b"WAVE" + inner + b"data" + number(size), *sound)
    if header.order == "big":
        raise contradiction("RIFX has no room for the length of more than 4 GiB")
    wide = chunk(b"ds64", number(outer + 36, 8) + number(size, 8) + bytes(12))
    return (b"RF64" + number(_FULL) + b"WAVE" + wide + inner + b"data" + number(_FULL), *sound)
