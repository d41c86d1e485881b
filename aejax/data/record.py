"""Records of packed audio: a stretch of a clip with a header and a CRC."""

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
import soundfile

from aejax.data.audio_file import UnusableAudio

CHUNK = 1 << 15  # samples in a record; fewer in a clip's last
ENCODINGS = ("pcm16", "flac", "float32")
_VERSION = 1
# Magic, version, encoding, channels, rate, start, samples, scale, bytes of the name.
_HEADER = struct.Struct("<4sBBHIQIfI")
_MAGIC = b"AEJR"


class Record(NamedTuple):
    """A stretch of a clip, mixed by a channel policy.

    Attributes:
      encoding: one of `ENCODINGS`.
      sample_rate: Hz.
      start: index of its first sample in the clip.
      audio: float32 ``[samples, channels]``.
      name: of the file, followed by the channel if each channel is a clip.
    """

    encoding: str
    sample_rate: int
    start: int
    audio: np.ndarray
    name: str


def encode(record: Record) -> bytes:
    """A record as bytes: a header, the name, the samples, and a CRC-32 over all of it.

    "pcm16" and "flac" are exact for 16-bit audio. Audio beyond full scale is scaled down, and
    scaled back by `decode`.
    """
    samples, channels = record.audio.shape
    scale = 1.0
    if record.encoding == "float32":
        payload = np.ascontiguousarray(record.audio, "<f4").tobytes()
    else:
        highest, lowest = float(record.audio.max(initial=0)), float(record.audio.min(initial=0))
        fits = highest <= 32767 / 32768 and lowest >= -1
        scale = float(np.float32(1 / 32768 if fits else max(highest, -lowest) / 32767))
        coded = np.clip(np.round(record.audio / np.float32(scale)), -32768, 32767).astype("<i2")
        payload = coded.tobytes() if record.encoding == "pcm16" else _flac(coded)
    name = record.name.encode("utf-8", "surrogateescape")
    header = _HEADER.pack(
        _MAGIC,
        _VERSION,
        ENCODINGS.index(record.encoding),
        channels,
        record.sample_rate,
        record.start,
        samples,
        scale,
        len(name),
    )
    body = header + name + payload
    return body + struct.pack("<I", zlib.crc32(body))


def decode(data: bytes, first: int = 0, last: int = CHUNK) -> Record:
    """The record in bytes made by `encode`, with its samples from ``first`` up to ``last``.

    Raises:
      UnusableAudio: the bytes are damaged or no record.
    """
    if len(data) < _HEADER.size + 4 or data[:4] != _MAGIC:
        raise UnusableAudio("not a record of a pack")
    body = memoryview(data)[:-4]
    if zlib.crc32(body) != int.from_bytes(data[-4:], "little"):
        raise UnusableAudio("a damaged record")
    _, version, encoding, channels, rate, start, samples, scale, size = _HEADER.unpack_from(data)
    valid = version == _VERSION and encoding < len(ENCODINGS) and 0 < scale < 1e9
    if not valid or not channels or samples > CHUNK:
        raise UnusableAudio("a record of another version")
    name = bytes(body[_HEADER.size : _HEADER.size + size]).decode("utf-8", "surrogateescape")
    payload, kind = body[_HEADER.size + size :], ENCODINGS[encoding]
    try:
        if kind == "flac":
            coded = soundfile.read(io.BytesIO(payload), samples, dtype="int16", always_2d=True)[0]
        else:
            coded = np.frombuffer(payload, "<f4" if kind == "float32" else "<i2")
    except (soundfile.SoundFileError, ValueError):
        raise UnusableAudio("a record that cannot be decoded") from None
    if coded.size != samples * channels:
        raise UnusableAudio("a record of another length")
    audio = coded.reshape(samples, channels)[first:last]
    if kind != "float32":
        audio = audio * np.float32(scale)
    elif not np.isfinite(audio).all():
        raise UnusableAudio("a record with non-finite samples")
    return Record(kind, rate, start, audio, name)


def _flac(coded: np.ndarray) -> bytes:
    # FLAC takes at most 8 channels, and no more are packed; the rate does not matter.
    file = io.BytesIO()
    soundfile.write(file, coded, 16_000, format="FLAC", subtype="PCM_16")
    return file.getvalue()
