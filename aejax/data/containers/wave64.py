"""Sonic Foundry's Wave64: chunks whose names have 16 bytes and whose sizes have 64 bits.

Sizes include the header of the chunk, 24 bytes, and chunks begin at multiples of 8.
"""

from aejax.data.containers import riff
from aejax.data.containers.link import MOST_CHUNKS, Link, Source, is_placeholder, sound_size

MAGIC = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
_NAME = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # after "wave", "fmt " and "data"


def walk(source: Source, start: int, stop: int) -> Link:
    """Parses the chunks from ``start`` on into a `Link`.

    Raises:
      UnusableAudio: the sound is truncated, or contradicts itself.
    """
    header, sound = riff.Header(), list[range]()
    at, end = start + 40, stop
    for _ in range(MOST_CHUNKS):
        name, size, body = source.at(at, 16), source.number(at + 16, 8), at + 24
        if body > stop or name == MAGIC:
            break
        if name == b"data" + _NAME:
            no_size = size == 24 and not _is_chunk(source, body, stop)
            is_unknown = size == 0 or is_placeholder(size) or no_size
            size = 24 + sound_size(size - 24, stop - body, is_unknown=is_unknown)
            sound.append(range(body, at + size))
        elif not _is_chunk(source, at, stop):
            break
        elif name == b"fmt " + _NAME:
            header = header._replace(form=source.at(body, min(size - 24, 4096)))
        elif name == b"fact" + _NAME:
            header = header._replace(fact=source.at(body, min(size - 24, 4096)))
        # Some writers do not pad the last chunk to a multiple of 8.
        end = min(at + size, stop)
        at += -(-size // 8) * 8
    sound = [part for part in sound if part]
    if not sound or not header.form:
        return Link.whole(source, start, stop)
    riff.refuse_rest(source, at, min(stop, start + source.number(start + 16, 8)))
    frames = riff.frames_of(header, sum(map(len, sound)))
    # libsndfile reads up to the end of the file.
    as_is = start == 0 and len(sound) == 1 and source.size - sound[0].stop < 8
    return Link(end, None if as_is else riff.rebuilt(header, sound), frames)


def _is_chunk(source: Source, at: int, stop: int) -> bool:
    return at + 24 > stop or 24 <= source.number(at + 16, 8) <= stop - at
