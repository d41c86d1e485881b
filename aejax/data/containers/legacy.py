"""Lengths in the headers of old containers.

IRCAM, PAF, PVF and XI store no length; libsndfile checks those of HTK and Psion.
"""

import re

from aejax.data.containers.link import MOST_CHUNKS, Link, Source, contradiction, truncated

_MORE = 512  # samples of padding that a writer may have added


def walk(source: Source, start: int, stop: int) -> Link:
    """The whole file as a `Link`, with the number of samples if the header is known.

    Raises:
      UnusableAudio: the file is truncated, or has sound in several blocks.
    """
    head, frames = source.at(start, 1024), None
    if head.startswith(b"NIST_1A"):
        text = head.partition(b"\nend_head")[0]
        counts = re.findall(rb"^sample_count -i (\d{1,18})\b", text, re.MULTILINE)
        frames = int(counts[0]) if counts else None
    elif head.startswith(b"2BIT"):  # AVR
        frames = _number(head, 26, "big")
    elif head.startswith(b"ALawSoundFile**\0"):  # Psion WVE
        frames = _number(head, 18, "big")
    elif head.startswith(b"\x01\x04"):  # Akai MPC 2000
        frames = _number(head, 30, "little")
    elif head.startswith(b"\xf0\x7e") and head[3:4] == b"\x01":
        frames = _sample_dump(head, stop - start)
    elif head.startswith(b"Creative Voice File"):
        _check_voice(source, start + int.from_bytes(head[20:22], "little"), stop)
    elif b"wavedata" in head:  # MATLAB 4 or 5: its name, after the number of columns
        name = head.index(b"wavedata")
        new = head.startswith(b"MATLAB")
        little = head[126:128] == b"IM" if new else _number(head, name - 20, "little") < 1000
        frames = _number(head, name - 12, "little" if little else "big")
    whole = Link.whole(source, start, stop)
    return whole._replace(frames=frames, more=_MORE) if frames else whole


def _number(head: bytes, start: int, order: str) -> int:
    return int.from_bytes(head[start : start + 4], "big" if order == "big" else "little")


def _sample_dump(head: bytes, size: int) -> int:
    """Samples in a MIDI Sample Dump: packets of 127 bytes with 120 of sound."""
    frames = sum((byte & 127) << 7 * index for index, byte in enumerate(head[10:13]))
    per_packet = 120 // max(2, -(-head[6] // 7)) if len(head) > 6 else 120
    needed = 21 + -(-frames // per_packet) * 127
    if size < needed:
        raise truncated(size, needed)
    return frames


def _check_voice(source: Source, at: int, stop: int) -> None:
    """Checks Creative's blocks: each has a kind and a size in 24 bits."""
    sounds = 0
    for _ in range(MOST_CHUNKS):
        kind, size = source.at(at, 1), source.number(at + 1, 3)
        if kind in (b"", b"\0"):
            break
        at += 4 + size
        if at > stop:
            raise truncated(stop, at)
        sounds += kind in (b"\x01", b"\x02", b"\x09")
    if sounds > 1:
        raise contradiction(f"{sounds} blocks of sound, of which only one is read; convert it")
