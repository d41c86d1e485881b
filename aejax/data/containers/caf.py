"""Apple's Core Audio Format: chunks whose sizes have 64 bits."""

from aejax.data.containers.link import MAGICS, MOST_CHUNKS, Link, Source, contradiction, sound_size
from aejax.data.containers.riff import refuse_rest


def walk(source: Source, start: int, stop: int) -> Link:
    """Parses the chunks from ``start`` on into a `Link`.

    Raises:
      UnusableAudio: the sound is truncated.
    """
    at, header, sound, claimed = start + 8, source.at(start, 8), range(0), 0
    packet, per_packet, frames = 0, 0, None
    for _ in range(MOST_CHUNKS):
        name, size, body = source.at(at, 4), source.number(at + 4, 8, "big", signed=True), at + 12
        if body > stop or name in MAGICS or name != b"data" and not 0 <= size <= stop - body:
            break
        if name == b"data":
            if sound:
                raise contradiction("two chunks of sound")
            is_unknown = size in (-1, 0) or size == 4 and not _is_chunk(source, body + 4, stop)
            claimed, size = size, sound_size(size, stop - body, is_unknown=is_unknown)
            sound = range(body, body + size)
        elif name == b"pakt":
            frames = source.number(body + 8, 8, "big", signed=True)
        elif name == b"desc":
            packet, per_packet = (source.number(body + 16 + k, 4, "big") for k in (0, 4))
        if name not in (b"data", b"free", b"info", b"uuid", b"strg") and size < 2**16:
            header += source.at(at, 12 + size)
        at = body + size
    if len(sound) <= 4:
        return Link.whole(source, start, stop)
    refuse_rest(source, at, stop)
    if frames is None and packet:
        frames = (len(sound) - 4) // packet * per_packet
    if start == 0 and len(sound) == claimed:
        return Link(max(at, sound.stop), None, frames)
    head = header + b"data" + len(sound).to_bytes(8, "big")
    return Link(max(at, sound.stop), (head, sound), frames)


def _is_chunk(source: Source, at: int, stop: int) -> bool:
    size = source.number(at + 4, 8, "big", signed=True)
    return at >= stop or source.at(at, 4).isascii() and 0 <= size <= stop - at - 12
