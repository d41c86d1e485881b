"""Ogg (RFC 3533): pages, consecutive sounds, and their lengths.

Sources: Xiph.Org, Vorbis I, sections 4 and A; RFC 7845 (Opus); Ogg FLAC mapping 1.0.
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from aejax.data.containers.link import Link, Source, contradiction
from aejax.data.containers.packets import CODECS, OggCodec
from aejax.data.unusable import UnusableAudio

MAGIC = b"OggS"
_FIRST, _LAST = 2, 4  # flags of a page
_MOST_STREAMS, _MOST_PARTS = 64, 2**17
_LARGEST = 27 + 255 + 255 * 255  # bytes of a page
_BUFFER = 1 << 19
# Every byte with its bits reversed, for `bytes.translate`.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Page(NamedTuple):
    start: int
    flags: int
    granule: int
    serial: bytes
    number: int
    sizes: bytes
    body: bytes

    @property
    def end(self) -> int:
        return self.start + 27 + len(self.sizes) + len(self.body)


class _Stream:
    """The parsed part of a logical stream, of sound or other data."""

    def __init__(self, page: _Page):
        self.number, self.ended = page.number - 1, False
        self.codec: OggCodec | None = None
        for magic, codec in CODECS.items():
            if page.body.startswith(magic):
                self.codec = codec(page.body)
        self.parts: list[bytes | range] = []
        self.begin: int | None = None  # granule position of the first sample
        self.granule = 0
        self._open = b""

    def add(self, page: _Page) -> None:
        """Checks the next page and counts its samples."""
        if page.number != self.number + 1:
            raise UnusableAudio(
                f"damaged: a page before {page.number} of the Ogg stream is missing"
            )
        self.number, self.ended = page.number, bool(page.flags & _LAST)
        if self.codec is None:
            return
        strip = self.codec.strip if page.flags & _FIRST else 0
        whole = range(page.start, page.end)
        part = range(page.end - len(page.body) + strip, page.end) if self.codec.bare else whole
        last = self.parts[-1] if self.parts else None
        if isinstance(last, range) and last.stop == part.start:
            self.parts[-1] = range(last.start, part.stop)
        elif len(self.parts) < _MOST_PARTS:
            self.parts.append(part)
        else:
            raise UnusableAudio("an Ogg file in too many pieces; convert it")
        samples = sum(map(self.codec.samples, self._packets(page)))
        if page.granule == -1 or not samples and self.begin is None:
            return
        if self.begin is None:
            self.begin = max(0, page.granule - samples)
        elif page.granule < self.granule:
            raise contradiction(f"page {page.number} is at {page.granule}, before the last one")
        self.granule = page.granule

    def _packets(self, page: _Page) -> Iterator[bytes]:
        """Packets that end in the page; of long packets, only the beginning."""
        start, end = 0, 0
        for size in page.sizes:
            end += size
            if size < 255:
                yield self._open + page.body[start:end]
                start, self._open = end, b""
        if len(self._open) < 1 << 20:  # the headers of Vorbis have some kilobytes
            self._open += page.body[start:end]


def walk(source: Source, start: int, stop: int) -> Link:
    """Parses the pages up to the end of all streams that begin together; checks their CRCs and
    numbers.

    Raises:
      UnusableAudio: it is truncated or damaged, contradicts itself, or has parallel sounds.
    """
    streams: dict[bytes, _Stream] = {}
    beginning, end = True, start
    for page in _pages(source, start, stop):
        beginning &= bool(page.flags & _FIRST)
        if page.flags & _FIRST:
            if not beginning and page.serial in streams or not beginning and _ended(streams):
                break
            if len(streams) == _MOST_STREAMS:
                raise UnusableAudio(f"more than {_MOST_STREAMS} streams side by side")
            streams[page.serial] = _Stream(page)
        elif page.serial not in streams:
            raise UnusableAudio("damaged: a page of an Ogg stream whose beginning is missing")
        streams[page.serial].add(page)
        end = page.end
    sounds = [stream for stream in streams.values() if stream.codec is not None]
    if not _ended(streams):
        raise UnusableAudio("truncated: the Ogg stream has no end")
    if not sounds:
        return Link.whole(source, start, stop)
    if len(sounds) > 1:
        raise UnusableAudio(
            f"{len(sounds)} sounds side by side, of which only one would be read; split the file,"
            " for example with ffmpeg"
        )
    (sound,) = sounds
    whole = sound.parts == [range(0, source.size)]
    if sound.begin and sound.codec is not None and sound.codec.skip:
        # An excerpt of a longer stream: nothing is to be skipped, and libsndfile skips nothing.
        sound.codec.skip, whole = 0, False
        sound.parts[0:1] = _without_skip(source, sound.parts[0])
    return _link(sound, end, None if whole else tuple(sound.parts))


def _ended(streams: dict[bytes, _Stream]) -> bool:
    """Whether every sound has ended; other streams may continue."""
    return all(stream.ended for stream in streams.values() if stream.codec is not None)


def _link(sound: _Stream, end: int, parts: tuple[bytes | range, ...] | None) -> Link:
    codec, begin = sound.codec, sound.begin or 0
    assert codec is not None
    frames = sound.granule - begin - codec.skip
    if codec.counted is not None:
        extra = codec.counted - codec.skip - frames
        if extra < 0 or extra > codec.longest:
            raise contradiction(
                f"granule positions count {frames} frames, and packets {codec.counted - codec.skip}"
            )
    rounded = 6 if codec.rate else 0  # one sample at 8 kHz is 6 at 48 kHz
    frames = max(0, frames)
    return Link(end, parts, frames, codec.rate, rounded, codec.longest, seeks=begin == 0)


def _without_skip(source: Source, part: bytes | range) -> tuple[bytes, range]:
    """Pages of Opus with a skip of 0 in the header, the only packet of the first page."""
    assert isinstance(part, range)
    body = 27 + source.number(part.start + 26, 1)
    size = body + sum(source.at(part.start + 27, body - 27))
    page = bytearray(source.at(part.start, size))
    page[body + 10 : body + 12] = bytes(2)
    page[22:26] = bytes(4)
    page[22:26] = crc(bytes(page)).to_bytes(4, "little")
    return bytes(page), range(part.start + size, part.stop)


def last_page(source: Source) -> int:
    """Number of samples before the last page; 0 if unknown."""
    first = max(0, source.size - 2 * _LARGEST)
    tail = source.at(first, source.size - first)
    last = tail.rfind(MAGIC)
    before = tail.rfind(MAGIC, 0, max(0, last))
    granule = int.from_bytes(tail[before + 6 : before + 14], "little", signed=True)
    return max(0, granule) if before >= 0 else 0


def _pages(source: Source, start: int, stop: int) -> Iterator[_Page]:
    buffer, base, at = b"", start, start
    while at < stop:
        if at + _LARGEST > base + len(buffer) < stop:
            buffer, base = source.at(at, min(_BUFFER, stop - at)), at
        offset = at - base
        header = buffer[offset : offset + 27]
        if len(header) < 27 or header[:4] != MAGIC:
            raise UnusableAudio("truncated: the Ogg stream breaks off")
        sizes = buffer[offset + 27 : offset + 27 + header[26]]
        first = offset + 27 + header[26]
        body = buffer[first : first + sum(sizes)]
        if len(sizes) < header[26] or len(body) < sum(sizes):
            raise UnusableAudio("truncated: the Ogg stream breaks off")
        number = int.from_bytes(header[18:22], "little")
        page = header[:22] + bytes(4) + header[26:] + sizes + body
        if crc(page) != int.from_bytes(header[22:26], "little"):
            raise UnusableAudio(f"damaged: page {number} of the Ogg stream")
        granule = int.from_bytes(header[6:14], "little", signed=True)
        yield _Page(at, header[5], granule, header[14:18], number, sizes, body)
        at += len(page)


def crc(data: bytes) -> int:
    """Ogg's CRC-32: unlike zlib's, it reverses the bits, begins at 0 and is not inverted."""
    reverse = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reverse:032b}"[::-1], 2)
