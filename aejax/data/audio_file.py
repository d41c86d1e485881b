"""Audio files: look at one, check one, read an excerpt of one, write one."""

import dataclasses
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr

CHANNEL_POLICIES = ("mono", "first")
SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"}
SUFFIXES |= {".au", ".caf", ".w64", ".rf64"}

_LOWEST_RATE, _HIGHEST_RATE = 1000, 1_000_000  # Hz
_LOUDEST = 1e6  # in units of full scale; beyond that the power of a spectrum overflows float32
_BLOCK = 1 << 20  # samples of all channels together
# Samples read on either side of an excerpt that is resampled, counted at the lower of the two
# rates. soxr's "HQ" filter is some 100 of those long; beyond that an excerpt equals the same
# stretch of the whole file resampled.
_MARGIN = 512
# A header written before the length was known (a pipe) claims one of these sizes.
_STREAMED = 0x7FFF0000


class UnusableAudio(Exception):
    """A file that cannot be trained on; the message is the reason, without the file's name."""


@dataclasses.dataclass(frozen=True)
class AudioFile:
    """What was found in a file that was read from end to end."""

    frames: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


def examine(path: Path) -> AudioFile:
    """Reads a file from end to end, in bounded memory, and says what is in it.

    Raises:
      UnusableAudio: it is empty, truncated, unreadable, or holds what is no sound: NaN, infinity,
        samples or a sample rate beyond all reason.
    """
    try:
        if path.stat().st_size == 0:
            raise UnusableAudio("empty file")
        with _open(path) as file:
            header = AudioFile(file.frames, file.samplerate, file.channels)
            if not _LOWEST_RATE <= header.sample_rate <= _HIGHEST_RATE:
                raise UnusableAudio(f"a sample rate of {header.sample_rate} Hz")
            _refuse_short_data(file)
            decoded = _count_finite_frames(file)
    except (OSError, soundfile.LibsndfileError) as error:
        raise UnusableAudio(f"unreadable: {_one_line(error)}") from None
    if decoded == 0:
        raise UnusableAudio("no audio in it")
    if decoded < header.frames:
        raise UnusableAudio(f"truncated: {decoded} of {header.frames} frames")
    if _ogg_without_end(path):
        raise UnusableAudio("truncated: the Ogg stream has no end")
    return AudioFile(decoded, header.sample_rate, header.channels)


def _open(path: Path) -> soundfile.SoundFile:
    # As bytes, since a name need not be UTF-8.
    return soundfile.SoundFile(os.fsencode(path))


def _refuse_short_data(file: soundfile.SoundFile) -> None:
    """libsndfile repairs a header that promises more than the file holds, and only logs it."""
    for claimed, actual in re.findall(r": (\d+) \(should be (\d+)\)", file.extra_info):
        if int(actual) + 8 < int(claimed) < _STREAMED:
            raise UnusableAudio(f"truncated: {actual} of {claimed} bytes")


def _count_finite_frames(file: soundfile.SoundFile) -> int:
    frames = 0
    # Not `file.blocks`, which gives as many frames as the header promises, there or not.
    while len(block := file.read(_BLOCK // file.channels, dtype="float32", always_2d=True)):
        if not np.isfinite(block).all():
            raise UnusableAudio("non-finite samples (NaN or infinity)")
        if np.abs(block).max() > _LOUDEST:
            raise UnusableAudio(f"samples up to {np.abs(block).max():.0e}, full scale being 1")
        frames += len(block)
    return frames


def _ogg_without_end(path: Path) -> bool:
    """An Ogg stream ends with a page whose header has the end-of-stream bit (RFC 3533)."""
    with open(path, "rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, os.fstat(file.fileno()).st_size - 65536))
        tail = file.read()
    last = tail.rfind(b"OggS")
    return last < 0 or len(tail) < last + 6 or not tail[last + 5] & 4


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rpartition(": ")[2].rstrip(".") or type(error).__name__


def read_excerpt(
    path: Path, start: int, length: int, *, sample_rate: int, channels: str, speed: float = 1.0
) -> np.ndarray:
    """``length`` samples from sample ``start`` on, both counted at ``sample_rate``.

    Reads by seeking, no more than it needs. Past the end of the file there is silence.

    Args:
      path: any file libsndfile reads.
      start, length: samples at ``sample_rate``.
      sample_rate: Hz to resample to.
      channels: "mono" for the mean of all channels, "first" for the first alone.
      speed: how much faster to play it, pitch and all; 1 leaves it alone.

    Returns:
      float32 ``[length]``.
    """
    with _open(path) as file:

        def read(first: int, count: int) -> np.ndarray:
            file.seek(first)
            return mix(file.read(count, dtype="float32", always_2d=True), channels)

        rate = round(file.samplerate * speed)
        return resampled_excerpt(read, file.frames, rate, start, length, sample_rate)


def mix(audio: np.ndarray, channels: str) -> np.ndarray:
    """``[samples, channels]`` to ``[samples]`` by one of `CHANNEL_POLICIES`."""
    return audio[:, 0] if channels == "first" else audio.mean(axis=1, dtype=np.float32)


def resampled_length(frames: int, rate: int, sample_rate: int) -> int:
    """Samples that ``frames`` at ``rate`` become at ``sample_rate``."""
    return -(-frames * sample_rate // rate)


def resampled_excerpt(
    read: Callable[[int, int], np.ndarray],
    frames: int,
    rate: int,
    start: int,
    length: int,
    sample_rate: int,
) -> np.ndarray:
    """An excerpt of a resampled signal, from no more of the signal than it needs.

    Args:
      read: gives ``count`` frames from ``first`` on.
      frames: how many the signal has.
      rate: Hz, the signal's own.
      start, length: samples at ``sample_rate``.
      sample_rate: Hz, of the result.

    Returns:
      float32 ``[length]``; silence past the end.
    """
    out = np.zeros(length, np.float32)
    divisor = math.gcd(rate, sample_rate)
    up, down = sample_rate // divisor, rate // divisor
    margin = 0 if up == down else _MARGIN * max(1, up // down)
    # Begin where an output sample falls on an input sample, so that the grids agree.
    block = max(0, (start - margin) // up)
    first = block * down
    count = min(frames - first, -(-(start + length + margin - block * up) * down // up))
    if count <= 0:
        return out
    audio = read(first, count)
    if up != down:
        audio = soxr.resample(audio, rate, sample_rate, "HQ")
    audio = audio[start - block * up :][:length]
    out[: len(audio)] = audio
    return out


def write(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """Writes float32 ``[samples]`` as a 16-bit WAV, whole or not at all; clips at full scale."""
    beside = path.with_name(path.name + ".part")
    soundfile.write(beside, np.clip(audio, -1, 1), sample_rate, format="WAV", subtype="PCM_16")
    beside.replace(path)
