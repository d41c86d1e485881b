"""Audio files: open one, read an excerpt of it, resample it, write one."""

import contextlib
import math
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import soundfile
import soxr

from aejax.data import containers
from aejax.data.containers import Link, Source, View, ogg
from aejax.data.unusable import NotAudio as NotAudio
from aejax.data.unusable import OutOfReach as OutOfReach
from aejax.data.unusable import UnusableAudio as UnusableAudio
from aejax.runtime import files

CHANNEL_POLICIES = ("mono", "first", "stereo", "each")
# What a file that cannot be opened must be called for that to be worth a word. Any other file is
# tried too, and taken if there is sound in it.
SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"}
SUFFIXES |= {".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".nist", ".m4a", ".wma", ".aac"}

OUT_OF_REACH = "cannot be opened"  # how the reasons of `OutOfReach` begin

# Samples read on either side of an excerpt that is resampled, counted at the lower of the two
# rates. soxr's "HQ" filter is some 100 of those long; beyond that an excerpt equals the same
# stretch of the whole file resampled.
_MARGIN = 256
_BLOCK = 1 << 20  # samples of all channels together
_LONGEST_BLOCK = 8192  # samples that a packet of Vorbis makes
_ENDLESS = 1 << 62  # samples, more than can be read


@contextlib.contextmanager
def opened(path: Path, *, seeks: bool = True) -> Iterator["AudioFile"]:
    """An audio file by what is in it, whatever it is called.

    Args:
      path: of the file.
      seeks: whether it was examined, and can be sought in; False to go through its container first,
        so that all that is in it is read, forwards from the beginning.

    Raises:
      NotAudio: it is no regular file, is empty, or does not begin as libsndfile knows it.
      OutOfReach: the system does not open or read it.
      UnusableAudio: libsndfile cannot read it, or its container contradicts itself.
    """
    if seeks:
        with _descriptor(path) as descriptor, _sound(descriptor) as file:
            yield file
    else:
        with walked(path) as (file, _, _):
            yield file


@contextlib.contextmanager
def walked(path: Path) -> Iterator[tuple["AudioFile", Source, list[Link]]]:
    """An audio file to read forwards, its bytes, and what a walk over them says; raises what
    `opened` does."""
    with _descriptor(path) as descriptor:
        source = Source(descriptor)
        links = containers.links(source)
        if len(links) > 1:
            with contextlib.closing(Chain(source, links)) as chain:
                yield chain, source, links
            return
        parts = links[0].parts
        os.lseek(descriptor, 0, os.SEEK_SET)
        with _sound(descriptor if parts is None else View(source, parts)) as file:
            if parts is None or file.format == "OGG":
                _only_forwards(file)
            yield file, source, links


@contextlib.contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    try:
        # Without waiting, should it be a pipe; and by descriptor, so that no name is looked at.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise NotAudio("no regular file")
            if status.st_size == 0:
                raise NotAudio("empty file")
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutOfReach(f"{OUT_OF_REACH}: {error.strerror or error}") from None
    except soundfile.SoundFileError as error:
        raise UnusableAudio(f"unreadable: {_one_line(error)}") from None


def _sound(file: int | View) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(file, closefd=False)
    except soundfile.LibsndfileError as error:
        raise NotAudio(f"unreadable: {_one_line(error)}") from None


class Chain:
    """Sounds one behind the other in a file, read as one, forwards.

    It has what is needed of `soundfile.SoundFile`.

    Args:
      source: the file.
      links: its sounds, all of which have `parts`.
    """

    frames = _ENDLESS  # nobody knows before all are read

    def __init__(self, source: Source, links: list[Link]):
        self._source, self._links, self._left = source, links[::-1], 0
        self._file = self._following()
        self.samplerate, self.channels = self._file.samplerate, self._file.channels
        self.format, self.subtype = self._file.format, self._file.subtype

    def seekable(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """As of a file."""
        self._file.close()

    def read(self, frames: int, **options: Any) -> np.ndarray:
        """As of a file."""
        while True:
            block = self._file.read(min(frames, self._left), **options)
            self._left -= len(block)
            if len(block) or not frames or not self._links:
                return block
            self._file.close()
            self._file = self._following()
            kind = (self._file.samplerate, self._file.channels)
            if kind != (self.samplerate, self.channels):
                raise UnusableAudio(
                    f"sounds of {self.samplerate} Hz and {self.channels} channels, then of"
                    f" {kind[0]} Hz and {kind[1]} channels, one behind the other; take them apart,"
                    " for example with ffmpeg"
                )

    def _following(self) -> soundfile.SoundFile:
        file = _sound(View(self._source, self._links.pop().parts or ()))
        _only_forwards(file)
        self._left = file.frames
        return file


AudioFile: TypeAlias = soundfile.SoundFile | Chain


def _only_forwards(file: soundfile.SoundFile) -> None:
    """soundfile seeks after every read, to where it is already. In FLAC that takes as long as
    finding the place did, and in MP3 of variable bit rate it goes wrong."""
    file.seekable = lambda: False


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rpartition(": ")[2].rstrip(".") or type(error).__name__


def read_blocks(file: AudioFile) -> Iterator[np.ndarray]:
    """All of a file, float32 ``[frames, channels]`` at a time, in bounded memory.

    Not `file.blocks`, which gives as many frames as the header promises, there or not.
    """
    count, left = max(1, _BLOCK // file.channels), file.frames
    # Not past the end, where some decoders stumble over what is no sound.
    while len(block := file.read(min(count, left), dtype="float32", always_2d=True)):
        yield block
        left -= len(block)


def read_excerpt(
    path: Path,
    start: int,
    length: int,
    *,
    sample_rate: int,
    channels: str,
    channel: int | None = None,
    seeks: bool = True,
) -> np.ndarray:
    """``length`` samples from sample ``start`` on, both counted at ``sample_rate``.

    Reads by seeking, no more than it needs. Past the end of the file there is silence.

    Args:
      path: any file libsndfile reads.
      start, length: samples at ``sample_rate``.
      sample_rate: Hz to resample to. An excerpt differs from the same stretch of the whole file
        resampled by at most 2e-5 of full scale.
      channels: one of `CHANNEL_POLICIES`, see `mix`.
      channel: read this one alone, counted from 0, whatever the policy.
      seeks: whether a stretch of it can be decoded alone (see `Examination`).

    Returns:
      float32 ``[length]``, or ``[length, 2]`` for "stereo".

    Raises:
      UnusableAudio: it cannot be read (any more).
    """
    with opened(path, seeks=seeks) as file:

        def read(first: int, count: int) -> np.ndarray:
            _go_to(file, first)
            return mix(file.read(count, dtype="float32", always_2d=True), channels, channel)

        frames = file.frames if file.seekable() else _ENDLESS
        return resampled_excerpt(read, frames, file.samplerate, start, length, sample_rate)


def _go_to(file: AudioFile, frame: int) -> None:
    """Moves to a frame, counted from the beginning; from then on, it can only go forwards."""
    at = 0
    if not isinstance(file, Chain) and file.seekable():
        at = frame
        if file.format == "OGG" and file.subtype == "VORBIS":
            # In the last page, whose end may be cut, libsndfile goes astray.
            at = min(frame, max(0, ogg.last_page(Source(file.name)) - _LONGEST_BLOCK))
        file.seek(at)
        _only_forwards(file)
    _skip(file, frame - at)


def _skip(file: AudioFile, frames: int) -> None:
    """Some codecs can only be decoded from the beginning."""
    count = max(1, _BLOCK // file.channels)
    while frames > 0 and len(block := file.read(min(frames, count), always_2d=True)):
        frames -= len(block)


def mix(audio: np.ndarray, channels: str, channel: int | None = None) -> np.ndarray:
    """``[samples, channels]`` by one of `CHANNEL_POLICIES`.

    "mono" is the mean of all channels, "first" the first alone: ``[samples]``. "stereo" is the
    first two, or the only one twice: ``[samples, 2]``. "each" wants a ``channel``.
    """
    if channel is not None:
        return audio[:, channel]
    if channels == "stereo":
        return audio[:, :2] if audio.shape[1] > 1 else np.repeat(audio, 2, axis=1)
    if channels == "first" or audio.shape[1] == 1:
        return audio[:, 0]
    # Column by column: NumPy's mean along a short axis takes 30 times as long.
    total = audio[:, 0] + audio[:, 1]
    for column in range(2, audio.shape[1]):
        total += audio[:, column]
    return total / np.float32(audio.shape[1])


def resampled_length(frames: Any, rate: Any, sample_rate: int) -> Any:
    """Samples that ``frames`` at ``rate`` become at ``sample_rate``; numbers or arrays of them."""
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
      read: gives ``count`` frames from ``first`` on, ``[count]`` or ``[count, channels]``.
      frames: how many the signal has.
      rate: Hz, the signal's own.
      start, length: samples at ``sample_rate``.
      sample_rate: Hz, of the result.

    Returns:
      float32 ``[length]`` or ``[length, channels]``; silence past the end.
    """
    divisor = math.gcd(rate, sample_rate)
    up, down = sample_rate // divisor, rate // divisor
    margin = 0 if up == down else _MARGIN * max(1, up // down)
    # Begin where an output sample falls on an input sample, so that the grids agree.
    block = max(0, (start - margin) // up)
    first = min(block * down, frames)
    count = min(frames - first, -(-(start + length + margin - block * up) * down // up))
    audio = read(first, max(0, count))
    if up != down and len(audio):
        audio = soxr.resample(audio, rate, sample_rate, "HQ")
    return cut(audio, start - block * up, length)


def cut(audio: np.ndarray, start: int, length: int) -> np.ndarray:
    """``length`` samples from ``start`` on, with silence past the end; a copy."""
    audio = audio[start : start + length]
    if len(audio) == length:
        return audio.copy()
    out = np.zeros((length, *audio.shape[1:]), np.float32)
    out[: len(audio)] = audio
    return out


def write(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """Writes float32 ``[samples]`` or ``[samples, channels]`` as a 16-bit WAV, whole or not at
    all; clips at full scale."""
    channels = 1 if audio.ndim == 1 else audio.shape[1]
    how = {"samplerate": sample_rate, "channels": channels, "format": "WAV", "subtype": "PCM_16"}
    with files.replacing(path) as beside, creating(beside, **how) as file:
        file.write(np.clip(audio, -1, 1))


@contextlib.contextmanager
def creating(path: Path, **options: Any) -> Iterator[soundfile.SoundFile]:
    """A sound file to write, with the arguments of `soundfile.SoundFile`; an error of the disk is
    raised as such, which libsndfile calls a system error, or, in Ogg and MP3, does not notice."""
    with path.open("w+b") as raw:
        checked = _Checked(raw)
        try:
            with soundfile.SoundFile(checked, "w", **options) as file:
                yield file
        finally:
            if checked.error is not None:
                raise checked.error


class _Checked:
    """A file whose first error in writing is kept."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: OSError | None = None
        self.seek, self.tell, self.read = file.seek, file.tell, file.read

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            return 0
