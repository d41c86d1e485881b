"""Examining an audio file from end to end: is it what it says, and what is in it?"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from aejax.data.audio_file import UnusableAudio, opened, read_blocks

_LOWEST_RATE, _HIGHEST_RATE = 1000, 1_000_000  # Hz
_LOUDEST = 1e6  # in units of full scale; beyond that the power of a spectrum overflows float32
# A header written before the length was known (a pipe) claims one of these sizes.
_STREAMED = 0x7FFF0000
# Two neighbours at least this loud, on the same side, are taken for one clipped peak.
_FULL_SCALE = 32767 / 32768
# No more frames than this fit in a byte. Silence is what a codec makes smallest: FLAC takes some 12
# bytes for 65,535 frames. Elsewhere the least is GSM, with 5 frames.
_DENSEST, _DENSEST_PLAIN = 8192, 16
_COMPRESSED = ("FLAC", "OGG", "MP3", "CAF")


class Examination(NamedTuple):
    """What was found in a file that was read from end to end.

    Attributes:
      frames: decoded, at its own rate.
      sample_rate: Hz.
      channels: how many.
      format: libsndfile's names of container and encoding.
      peak: largest magnitude, full scale being 1.
      rms: root mean square over all channels.
      clipped: the fraction of samples inside a flat top at full scale.
      mono: power of the mean of all channels, as a fraction of their mean power: 1 where they are
        alike, 0 where they cancel.
      digest: 64 bits of a hash of the samples, the rate and the number of channels.
    """

    frames: int
    sample_rate: int
    channels: int
    format: str
    peak: float
    rms: float
    clipped: float
    mono: float
    digest: int


def examine(path: Path) -> Examination:
    """Reads a file from end to end, in bounded memory, and says what is in it.

    A truncated file is found out by what its header promises, so not in a format whose header
    promises nothing (IRCAM, PAF, PVF, XI, MP3 without a Xing header): there a file cut short is
    a valid shorter file.

    Raises:
      UnusableAudio: it is empty, truncated, unreadable, contradicts itself, or holds what is no
        sound: NaN, infinity, samples or a sample rate beyond all reason.
    """
    with opened(path) as file:
        if not _LOWEST_RATE <= file.samplerate <= _HIGHEST_RATE:
            raise UnusableAudio(f"a sample rate of {file.samplerate} Hz")
        _refuse_contradictions(file)
        found = _measure(file, _most_frames(file, path))
        promised = max(file.frames, _promised_frames(file, path))
        log = file.extra_info
    if found.frames == 0:
        raise UnusableAudio("no audio in it")
    if found.frames < promised:
        raise UnusableAudio(f"truncated: {found.frames} of {promised} frames")
    if "truncated" in log or "short read" in log:
        raise UnusableAudio("truncated, says libsndfile")
    if _ogg_without_end(path):
        raise UnusableAudio("truncated: the Ogg stream has no end")
    return found


def _refuse_contradictions(file: soundfile.SoundFile) -> None:
    """libsndfile repairs or overlooks what contradicts itself in a header, and only logs it."""
    log = file.extra_info
    for label, first, second in re.findall(r"(\S[^:\n]*?) *:? (\d+) \(?should be (\d+)", log):
        slack = 8 if label in ("RIFF", "FORM") else 0  # writers differ in what they count there
        if label != "Bytes/sec" and int(second) + slack < int(first) < _STREAMED:
            raise UnusableAudio(f"truncated: {second} of {first} bytes")
    _refuse_wrong_sizes(log)
    block = re.search(r"(?:Extended II|Sound Data) *: (\d+)", log, re.IGNORECASE)  # VOC
    offset = re.search(r"dataoffset *: (\d+)", log)
    length = re.search(r"^Length *: (\d+)", log, re.MULTILINE)
    if block and offset and length and int(block[1]) + int(offset[1]) + 4 > int(length[1]):
        raise UnusableAudio(f"truncated: {length[1]} bytes, with a block of {block[1]}")


def _refuse_wrong_sizes(log: str) -> None:
    """The sizes in a WAV's format chunk have to go together, where samples have a size at all."""

    def value(name: str) -> int | None:
        match = re.search(rf"^ *{name} *: (\d+)", log, re.MULTILINE)
        return int(match[1]) if match else None

    encoding = re.search(r"WAVE_FORMAT_(PCM|IEEE_FLOAT|EXTENSIBLE)\b", log)
    bits, align, channels = value("Bit Width"), value("Block Align"), value("Channels")
    rate, byte_rate = value("Sample Rate"), value("Bytes/sec")
    if not encoding or bits is None or align is None or channels is None:
        return
    if align != channels * -(-bits // 8):
        raise UnusableAudio(
            f"a header that contradicts itself: {channels} channels of {bits} bits in {align} bytes"
        )
    if byte_rate and rate and byte_rate != rate * align:
        raise UnusableAudio(
            f"a header that contradicts itself: {byte_rate} bytes a second, where {rate} times"
            f" {align} are {rate * align}"
        )


def _promised_frames(file: soundfile.SoundFile, path: Path) -> int:
    """Frames that the header speaks of, where libsndfile counts what is there instead."""
    if file.format == "SDS":  # its log counts whole blocks
        return 0
    promised = [int(count) for count in re.findall(r"\b[Ff]rames *: (\d+)", file.extra_info)]
    promised += [int(count) for count in re.findall(r"Rows : \d+ +Cols : (\d+)", file.extra_info)]
    if file.format == "CAF":
        packet = re.search(r"Bytes / packet +: ([1-9]\d*)", file.extra_info)
        data = re.search(r"^data : (\d+)", file.extra_info, re.MULTILINE)
        if packet and data:
            promised.append((int(data[1]) - 4) // int(packet[1]))
    if file.format == "NIST":
        with open(path, "rb") as raw:
            counts = re.findall(rb"sample_count -i (\d+)", raw.read(1024))
        promised += [int(count) for count in counts]
    return max((count for count in promised if count < _STREAMED), default=0)


def _most_frames(file: soundfile.SoundFile, path: Path) -> int:
    """More than this cannot be in the file, whatever its header says."""
    dense = file.format in _COMPRESSED or "MPEG" in file.subtype
    return path.stat().st_size * (_DENSEST if dense else _DENSEST_PLAIN)


def _measure(file: soundfile.SoundFile, most: int) -> Examination:
    frames, peak, clipped, squares, mono_squares = 0, 0.0, 0, 0.0, 0.0
    channels, rate = file.channels, file.samplerate
    digest = hashlib.blake2b(f"{rate} {channels}".encode(), digest_size=8)
    for block in read_blocks(file):
        highest, lowest = float(block.max()), float(block.min())
        loudest = max(highest, -lowest)
        if not np.isfinite(loudest):
            raise UnusableAudio("non-finite samples (NaN or infinity)")
        if loudest > _LOUDEST:
            raise UnusableAudio(f"samples up to {loudest:.0e}, full scale being 1")
        frames += len(block)
        if frames > most:  # some decoders go on for as long as they are told to
            raise UnusableAudio(f"a header that contradicts itself: {file.frames} frames")
        peak = max(peak, loudest)
        if loudest >= _FULL_SCALE:
            clipped += _flat_tops(block)
        squares += _power(block.reshape(-1))
        if channels > 1:
            mono_squares += _power(block @ np.full(channels, 1 / channels, np.float32))
        digest.update(block.data)
    count = max(1, frames * channels)
    return Examination(
        frames=frames,
        sample_rate=rate,
        channels=channels,
        format=f"{file.format} {file.subtype}",
        peak=peak,
        rms=(squares / count) ** 0.5,
        clipped=clipped / count,
        mono=mono_squares * channels / squares if channels > 1 and squares else 1.0,
        digest=int.from_bytes(digest.digest(), "little"),
    )


def _power(samples: np.ndarray) -> float:
    """The sum of squares, by pieces: float32 sums of a million squares lose digits."""
    return float(sum(float(np.dot(piece, piece)) for piece in np.array_split(samples, 64)))


def _flat_tops(block: np.ndarray) -> int:
    """Samples at full scale whose neighbour before is there too."""
    count = 0
    for top in (block >= _FULL_SCALE, block <= -_FULL_SCALE):
        count += int(np.count_nonzero(top[1:] & top[:-1]))
    return count


def _ogg_without_end(path: Path) -> bool:
    """An Ogg stream ends with a page whose header has the end-of-stream bit (RFC 3533)."""
    with open(path, "rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 65536))
        tail = file.read()
    last = tail.rfind(b"OggS")
    return last < 0 or len(tail) < last + 6 or not tail[last + 5] & 4
