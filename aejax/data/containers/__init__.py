"""Parsers of audio containers, which check lengths that libsndfile does not check.

Each kind of container has a `walk` that parses the sound at a byte of a file into a `Link`: its
end, its length, and the bytes that a decoder needs. It takes one pass through the file at most, and
constant memory.
"""

from aejax.data.containers import au, caf, flac, iff, legacy, mpeg, ogg, riff, tags, wave64
from aejax.data.containers.link import Link, Source, View, contradiction, next_sound, truncated
from aejax.data.unusable import UnusableAudio

__all__ = ["Link", "Source", "View", "contradiction", "links", "mpeg_link", "ogg", "truncated"]

_MOST_LINKS = 1024


def links(source: Source) -> list[Link]:
    """The sounds in a file, in order.

    Raises:
      UnusableAudio: the file is truncated or damaged, or contradicts itself.
    """
    start = tags.before(source, 0)
    stop = tags.after(source, start)
    first = _walk(source, start, stop)
    if first is None:
        return [legacy.walk(source, start, stop)]
    chain = [first]
    while chain[-1].end < stop:
        end = chain[-1].end
        another = _walk(source, next_sound(source, end, stop), stop)
        if another is None or another.end <= end:
            if mpeg.fills(source, end, stop):
                raise contradiction(
                    f"{stop - end} bytes of MPEG audio after the sound; split the file"
                )
            break
        chain.append(another)
        if len(chain) > _MOST_LINKS:
            raise UnusableAudio(f"more than {_MOST_LINKS} concatenated sounds")
    if len(chain) > 1 and first.parts is None:
        chain[0] = first._replace(parts=(range(start, first.end),))
    return chain


def mpeg_link(source: Source) -> Link:
    """The sound in a file of MPEG audio, which has no magic number.

    Raises:
      UnusableAudio: see `mpeg.walk`.
    """
    start = tags.before(source, 0)
    stop = tags.after(source, start)
    another = next_sound(source, start, stop)
    if another < stop:
        raise contradiction(f"{stop - another} bytes of another sound after the MPEG audio")
    return mpeg.walk(source, start, stop)


def _walk(source: Source, start: int, stop: int) -> Link | None:
    """The sound at ``start``; None if its container is not known."""
    magic = source.at(start, 4)
    if magic in riff.MAGIC and source.at(start + 8, 4) == b"WAVE":
        return riff.walk(source, start, stop)
    if source.at(start, 16) == wave64.MAGIC:
        return wave64.walk(source, start, stop)
    if iff.begins(source, start):
        return iff.walk(source, start, stop)
    if magic in au.MAGIC:
        return au.walk(source, start, stop)
    if magic == b"caff":
        return caf.walk(source, start, stop)
    if magic == flac.MAGIC:
        return flac.walk(source, start, stop)
    if magic == ogg.MAGIC:
        return ogg.walk(source, start, stop)
    return None
