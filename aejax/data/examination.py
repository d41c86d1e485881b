"""Examining an audio file from end to end: is it what it says, and what is in it?"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from aejax.data.audio_file import NotAudio, UnusableAudio, opened, read_blocks
from aejax.data.containers import check_ogg, walk_mpeg

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
      seeks: whether a stretch of it can be decoded alone; False for MP3 of variable bit rate.
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
    seeks: bool = True


def examine(path: Path) -> Examination:
    """Reads a file from end to end, in bounded memory, and says what is in it.

    A truncated file is found out by what its header promises, so not in a format whose header
    promises nothing (IRCAM, PAF, PVF, XI, MP3 of constant bit rate without a Xing header): there a
    file cut short is a valid shorter file.

    Raises:
      NotAudio: it does not even begin as audio.
      OutOfReach: the system does not give it.
      UnusableAudio: it is empty, truncated, damaged, contradicts itself, or holds what is no sound:
        NaN, infinity, samples or a sample rate beyond all reason.
    """
    with opened(path, seeks=False) as file:
        _refuse_lookalikes(file, path)
        if not _LOWEST_RATE <= file.samplerate <= _HIGHEST_RATE:
            raise UnusableAudio(f"a sample rate of {file.samplerate} Hz")
        _refuse_contradictions(file)
        slack, seeks = _refuse_damaged_container(file, path)
        found = _measure(file, _most_frames(file, path))
        promised = max(file.frames, _promised_frames(file, path))
        _refuse_short_reads(file)
    if found.frames == 0:
        raise UnusableAudio("no audio in it")
    if found.frames < promised - slack:
        raise UnusableAudio(f"truncated: {found.frames} of {promised} frames")
    return found._replace(seeks=seeks)


def _refuse_lookalikes(file: soundfile.SoundFile, path: Path) -> None:
    """Formats that libsndfile knows by less than four bytes, or that hold other things too."""
    if file.format == "MPC2K" and _promised_frames(file, path) != file.frames:
        raise NotAudio("not the MPC 2000 sample that its first two bytes say")
    if file.format in ("MAT4", "MAT5"):
        with open(path, "rb") as raw:
            if b"wavedata" not in raw.read(1024):
                raise NotAudio("a MATLAB file without 'wavedata'")


# What a size in a log is called. Comments and titles are in the log too, but not at its margin.
_SIZES = "RIFF|RIFX|FORM|SSND|BODY|data|Data Size|Data length|riff|Riff size"


def _refuse_contradictions(file: soundfile.SoundFile) -> None:
    """libsndfile repairs or overlooks what contradicts itself in a header, and only logs it."""
    log = file.extra_info
    wrong = re.findall(rf"^ *({_SIZES}) *:? (\d+) \(?should be (\d+)", log, re.MULTILINE)
    for label, claimed, actual in wrong:
        slack = 8 if label in ("RIFF", "FORM") else 0  # writers differ in what they count there
        if int(actual) + slack < int(claimed) < _STREAMED:
            raise UnusableAudio(f"truncated: {actual} of {claimed} bytes")
    _refuse_short_reads(file)
    _refuse_wrong_sizes(log)
    block = re.search(r"^ *(?:Extended II|Sound Data) *: (\d+)", log, re.MULTILINE | re.IGNORECASE)
    offset = re.search(r"^ *dataoffset *: (\d+)", log, re.MULTILINE)
    length = re.search(r"^Length *: (\d+)", log, re.MULTILINE)
    if file.format == "VOC" and block and offset and length:
        short = int(block[1]) + int(offset[1]) + 4 - int(length[1])
        if short > 0:
            raise UnusableAudio(f"truncated: {length[1]} bytes, and {short} are missing")


def _refuse_short_reads(file: soundfile.SoundFile) -> None:
    if re.search(r"^\*\*\*.*(truncated|short read)", file.extra_info, re.MULTILINE):
        raise UnusableAudio("truncated, says libsndfile")


def _refuse_wrong_sizes(log: str) -> None:
    """The sizes in a WAV's format chunk have to go together, where samples have a size at all."""

    def value(name: str) -> int | None:
        match = re.search(rf"^ *{name} *: (\d+)", log, re.MULTILINE)
        return int(match[1]) if match else None

    encoding = re.search(r"=> WAVE_FORMAT_(PCM|IEEE_FLOAT|EXTENSIBLE)\b", log)
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


def _refuse_damaged_container(file: soundfile.SoundFile, path: Path) -> tuple[int, bool]:
    """Frames by which a good file may be shorter than libsndfile thinks, and whether one can seek
    in it."""
    if file.format == "OGG":
        check_ogg(path)
    if file.format != "MP3":
        return 0, "MPEG" not in file.subtype
    mpeg = walk_mpeg(path)
    if mpeg.promised:
        if mpeg.frames > mpeg.promised + 1:  # two files, one behind the other
            raise UnusableAudio(
                "a header that contradicts itself: it speaks of"
                f" {mpeg.promised} MPEG frames, and there are {mpeg.frames}"
            )
        return 0, mpeg.constant
    if not mpeg.constant:
        raise UnusableAudio(
            "an MP3 of variable bit rate whose length is not known, as it has no Xing header;"
            " convert it"
        )
    return 2 * 1152, True


def _promised_frames(file: soundfile.SoundFile, path: Path) -> int:
    """Frames that the header speaks of, where libsndfile counts what is there instead."""
    log = file.extra_info
    patterns = (
        [r"^ *(?:Valid )?[Ff]rames *: (\d+)$"] if file.format != "SDS" else []
    )  # that in whole blocks
    patterns += [r"^ *Rows : \d+ +Cols : (\d+)$"] if file.format == "MAT5" else []
    promised = [int(n) for pattern in patterns for n in re.findall(pattern, log, re.MULTILINE)]
    packet = re.search(r"^ *Bytes / packet +: ([1-9]\d*)", log, re.MULTILINE)
    data = re.search(r"^data : (\d+)", log, re.MULTILINE)
    if file.format == "CAF" and packet and data:
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
