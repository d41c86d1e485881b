"""MPEG audio (ISO/IEC 11172-3 and 13818-3): frames and the Xing header."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from aejax.data.containers import tags
from aejax.data.containers.link import Link, Source, contradiction, truncated
from aejax.data.unusable import UnusableAudio

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
# Possible starts of a frame or a tag.
_NEXT = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]|ID3")
_LONGEST = 2881  # bytes of a frame
# Frames by which decoders differ: some skip the first frame and the encoder's padding.
_SLACK = 2


class Frame(NamedTuple):
    """The fields of a frame header.

    Attributes:
      size: bytes.
      rate: kbit/s.
      samples: of each channel.
      sample_rate: Hz.
    """

    size: int
    rate: int
    samples: int
    sample_rate: int


def walk(source: Source, start: int, stop: int) -> Link:
    """Counts the frames; skips bytes between them.

    Raises:
      UnusableAudio: the length differs from the header's, or is unknown.
    """
    count, expected, first, rates, hz = 0, None, None, set[int](), set[int]()
    for frame, body in frames(source, start, stop):
        if first is None:
            first, expected = frame, _frame_count(body)
            if expected is not None:
                continue
        count += 1
        rates.add(frame.rate)
        hz.add(frame.sample_rate)
    if first is None:
        return Link.whole(source, start, stop)
    if len(hz) > 1:
        raise contradiction(f"frames at {' and '.join(map(str, sorted(hz)))} Hz; convert it")
    if expected and count > expected:  # concatenated files
        raise contradiction(
            f"its header counts {expected} MPEG frames, but it has {count}; convert it"
        )
    constant = len(rates) <= 1
    if expected:
        if count < expected - 1:
            raise truncated(count, expected, "MPEG frames")
        return Link(stop, seeks=constant)
    if not constant:
        raise UnusableAudio(
            "an MP3 of variable bit rate and unknown length, without a Xing header; convert it"
        )
    slack = _SLACK * first.samples
    return Link(stop, None, count * first.samples, fewer=slack, more=slack)


def fills(source: Source, start: int, stop: int) -> bool:
    """Whether most bytes from ``start`` to ``stop`` belong to frames."""
    return sum(frame.size for frame, _ in frames(source, start, stop)) > (stop - start) // 2


def frames(source: Source, start: int, stop: int) -> Iterator[tuple[Frame, bytes]]:
    """Every frame and its bytes."""
    at = start
    buffer, base = b"", start
    synced = True
    while at < stop:
        if at + 2 * _LONGEST > base + len(buffer) and base + len(buffer) < stop:
            buffer, base = source.at(at, min(1 << 18, stop - at)), at
            if not buffer:
                return
        offset = at - base
        frame = header(buffer[offset : offset + 4])
        if frame and offset + frame.size <= len(buffer):
            after = buffer[offset + frame.size : offset + frame.size + 4]
            if synced or len(after) < 4 or header(after):
                yield frame, buffer[offset : offset + frame.size]
                at, synced = at + frame.size, True
                continue
        if buffer[offset : offset + 3] == b"ID3":
            at = max(at + 1, tags.before(source, at))
            continue
        match = _NEXT.search(buffer, offset + 1)
        skip = match.start() if match else max(offset + 1, len(buffer) - 2)
        at, synced = base + skip, False


def header(data: bytes) -> Frame | None:
    """The frame header in four bytes; None if they are not a header."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, 4 - (data[1] >> 1 & 3)
    index, hz, padding = data[2] >> 4, data[2] >> 2 & 3, data[2] >> 1 & 1
    if version == 1 or layer == 4 or index in (0, 15) or hz == 3:
        return None
    rate, sample_rate = _RATES[version == 3, layer][index - 1], _HZ[version][hz]
    if layer == 1:
        return Frame((12_000 * rate // sample_rate + padding) * 4, rate, 384, sample_rate)
    samples = 576 if layer == 3 and version != 3 else 1152
    return Frame(samples * 125 * rate // sample_rate + padding, rate, samples, sample_rate)


def _frame_count(frame: bytes) -> int | None:
    """Number of frames in a Xing, Info or VBRI header; 0 if it has none, None without a header."""
    tag = re.search(rb"Xing|Info", frame[:64])
    if tag:
        fields = frame[tag.end() : tag.end() + 8]
        return int.from_bytes(fields[4:], "big") if fields[3] & 1 else 0
    at = frame[:64].find(b"VBRI")
    return int.from_bytes(frame[at + 14 : at + 18], "big") if at >= 0 else None
