"""AIFF, AIFF-C and Amiga IFF (8SVX, 16SV): chunks of a FORM.

Sources: Apple, Audio Interchange File Format 1.3 and AIFF-C; Electronic Arts, EA IFF 85.
"""

from aejax.data.containers.link import (
    MAGICS,
    MOST_CHUNKS,
    Link,
    Source,
    contradiction,
    is_placeholder,
    sound_size,
)
from aejax.data.containers.riff import is_chunk, next_chunk, only_chunks, refuse_rest

_KINDS = (b"AIFF", b"AIFC", b"8SVX", b"16SV")
# Bytes per sample of encodings that do not depend on the bits in the header.
_WIDTHS = {b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1, b"fl32": 4, b"FL32": 4}
_WIDTHS |= {b"fl64": 8, b"FL64": 8, b"in24": 3, b"in32": 4, b"23ni": 4, b"raw ": 1}
_SOUND, _NEEDED = (b"SSND", b"BODY"), (b"COMM", b"FVER", b"VHDR")
_PLAIN = (b"NONE", b"sowt", b"twos", b"")


def begins(source: Source, start: int) -> bool:
    """Whether AIFF or Amiga IFF begins at ``start``."""
    return source.at(start, 4) == b"FORM" and source.at(start + 8, 4) in _KINDS


def walk(source: Source, start: int, stop: int) -> Link:
    """Parses the chunks from ``start`` on into a `Link`.

    Raises:
      UnusableAudio: the sound is truncated, or contradicts itself.
    """
    outer = source.number(start + 4, 4, "big")
    needed: dict[bytes, bytes] = {}
    sound, claimed = range(0), -1
    kind, at, end, as_is = source.at(start + 8, 4), start + 12, stop, start == 0
    for _ in range(MOST_CHUNKS):
        name, size, body = source.at(at, 4), source.number(at + 4, 4, "big"), at + 8
        if at + 8 > stop or name in MAGICS:
            break
        if name in _SOUND:
            if claimed >= 0:
                raise contradiction("two chunks of sound")
            claimed, first = size, 8 + source.number(body, 4, "big") if name == b"SSND" else 0
            # No size and no chunk after it: the header was written before the size was known.
            no_size = claimed <= first and not only_chunks(source, body + claimed, stop, "big")
            size = sound_size(claimed, stop - body, is_unknown=no_size or is_placeholder(claimed))
            sound = range(body + min(first, size), body + size)
            as_is &= size == claimed
        elif not is_chunk(source, at, stop, "big"):
            break
        elif name in _NEEDED:
            needed[name] = source.at(at, 8 + min(size, 4096))
        end = min(body + size, stop)
        at = next_chunk(source, body + size, stop, "big")
        as_is &= bool(sound) or at == body + size + (size & 1)
    if not sound or not needed:
        return Link.whole(source, start, stop)
    refuse_rest(source, at, min(stop, start + 8 + outer))
    # In Amiga's files, libsndfile reads up to the end of the file.
    as_is &= kind in (b"AIFF", b"AIFC") or source.size - sound.stop < 2
    parts = None if as_is else _rebuilt(kind, needed, sound)
    return Link(end, parts, _frames(needed, len(sound)))


def _frames(needed: dict[bytes, bytes], size: int) -> int | None:
    """Samples of each channel, from the size of the sound instead of COMM; None if samples have no
    fixed size."""
    common = needed.get(b"COMM", b"")
    channels, bits, kind = common[8:10], common[14:16], common[26:30]
    width = _WIDTHS.get(kind, -(-int.from_bytes(bits, "big") // 8) if kind in _PLAIN else 0)
    align = int.from_bytes(channels, "big") * width
    return size // align if align else None


def _rebuilt(kind: bytes, needed: dict[bytes, bytes], sound: range) -> tuple[bytes | range, ...]:
    """The sound after a corrected header. Sizes that do not fit are 0: libsndfile then reads up to
    the end."""
    name = b"SSND" if kind in (b"AIFF", b"AIFC") else b"BODY"
    inner = b"".join(chunk + b"\0" * (len(chunk) & 1) for chunk in needed.values())
    first = bytes(8) if name == b"SSND" else b""
    size = len(first) + len(sound)
    outer = 4 + len(inner) + 8 + size
    size, outer = (0 if number >= 2**32 else number for number in (size, outer))
    head = b"FORM" + outer.to_bytes(4, "big") + kind + inner + name + size.to_bytes(4, "big")
    return (head + first, sound)
