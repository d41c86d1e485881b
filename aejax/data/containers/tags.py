"""Tags that players add before and after the sound of any audio file."""

import functools

from aejax.data.containers.link import Source

_MOST = 64  # consecutive tags


def before(source: Source, start: int) -> int:
    """End of the ID3v2 tags at ``start``."""
    for _ in range(_MOST):
        head = source.at(start, 10)
        if len(head) < 10 or head[:3] != b"ID3" or max(head[6:]) > 127:
            break
        start += 10 + _syncsafe(head[6:]) + (10 if head[5] & 0x10 else 0)
    return min(start, source.size)


def after(source: Source, start: int) -> int:
    """End of the sound at ``start``, before ID3v1, APE and Lyrics3 tags."""
    stop = source.size
    for _ in range(_MOST):
        size = _last_tag_size(source, stop)
        if not 0 < size <= stop - start:
            break
        stop -= size
    return stop


def _last_tag_size(source: Source, stop: int) -> int:
    tail = source.at(max(0, stop - 128), min(stop, 128))
    if tail[:3] == b"TAG" and len(tail) == 128:
        return 128
    if tail[-32:-24] == b"APETAGEX":
        header = 32 if tail[-9] & 0x80 else 0
        return int.from_bytes(tail[-20:-16], "little") + header
    if tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
        return int(tail[-15:-9]) + 15
    if tail[-10:-7] == b"3DI" and max(tail[-4:]) < 128:
        return _syncsafe(tail[-4:]) + 20
    return 0


def _syncsafe(data: bytes) -> int:
    """The integer in bytes of 7 bits each."""
    return functools.reduce(lambda size, byte: size << 7 | byte, data, 0)
