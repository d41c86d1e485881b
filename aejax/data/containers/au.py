"""AU of Sun and NeXT: six numbers, an annotation, and sound up to the end."""

from typing import Literal

from aejax.data.containers.link import Link, Source, contradiction, is_placeholder, sound_size

MAGIC: dict[bytes, Literal["little", "big"]] = {b".snd": "big", b"dns.": "little"}
# Bytes per sample by the number of the encoding.
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
_UNKNOWN = 2**32 - 1


def walk(source: Source, start: int, stop: int) -> Link:
    """Compares the sound with the header.

    Raises:
      UnusableAudio: the sound is shorter or longer than the header says.
    """
    magic = source.at(start, 4)
    order = MAGIC[magic]
    offset, claimed, encoding = (source.number(start + at, 4, order) for at in (4, 8, 12))
    channels, rest = source.number(start + 20, 4, order), stop - start - offset
    if offset < 24 or rest <= 0 or not channels:
        return Link.whole(source, start, stop)
    size = sound_size(claimed, rest, is_unknown=claimed == 0 or is_placeholder(claimed))
    sound = range(start + offset, start + offset + size)
    another = source.at(sound.stop, 4) in MAGIC
    if rest - size > 8 and not another and not source.zeros(sound.stop, stop):
        raise contradiction(f"{claimed} bytes of sound, and {rest - size} more after them")
    width = _WIDTHS.get(encoding)
    frames = size // (width * channels) if width else None
    # If samples have no fixed size, libsndfile reads up to the end of the file.
    known = size == claimed and (width or sound.stop == source.size)
    if start == 0 and (known or claimed == _UNKNOWN and stop == source.size):
        return Link(sound.stop, None, frames)
    numbers = b"".join(number.to_bytes(4, order) for number in (24, min(size, _UNKNOWN)))
    return Link(sound.stop, (magic + numbers + source.at(start + 12, 12), sound), frames)
