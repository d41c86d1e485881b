"""Audio files: opening, reading excerpts, resampling and writing."""

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
# Suffixes of audio: such a file is reported if it cannot be opened. All other files are tried too,
# and used if they contain sound.
SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"}
SUFFIXES |= {".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".nist", ".m4a", ".wma", ".aac"}

OUT_OF_REACH = "cannot be opened"  # prefix of the reasons of `OutOfReach`

# Context on either side of a resampled excerpt, in samples at the lower of the two rates. soxr's
# "HQ" filter spans about 100 samples, so an excerpt equals that part of the resampled file.
_MARGIN = 256
_BLOCK = 1 << 20  # samples, summed over channels
_LONGEST_BLOCK = 8192  # samples in a packet of Vorbis
_ENDLESS = 1 << 62  # samples; more than any file has


@contextlib.contextmanager
def opened(path: Path, *, seeks: bool = True) -> Iterator["AudioFile"]:
    """Opens an audio file of any name for reading.

    Args:
      path: of the file.
      seeks: True for a file that `examine` found seekable. False parses the container first and
        reads all of its sound, only forwards.

    Raises:
      NotAudio: it is not a regular file, is empty, or is not recognised by libsndfile.
      OutOfReach: it cannot be opened or read.
      UnusableAudio: libsndfile cannot decode it, or its container contradicts itself.
    """
    if seeks:
        with _descriptor(path) as descriptor, _sound(descriptor) as file:
            yield file
    else:
        with open_parsed(path) as (file, _, _):
            yield file


@contextlib.contextmanager
def open_parsed(path: Path) -> Iterator[tuple["AudioFile", Source, list[Link]]]:
    """Opens an audio file for reading forwards; yields it, its bytes and the sounds in its
    container. Raises as `opened`."""
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
        # O_NONBLOCK: do not wait for a pipe. By descriptor, so that the name does not matter.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise NotAudio("not a regular file")
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
    """The concatenated sounds of a file, read forwards like a `soundfile.SoundFile`.

    Args:
      source: the file.
      links: its sounds, each with `parts`.
    """

    frames = _ENDLESS  # unknown until all are read

    def __init__(self, source: Source, links: list[Link]):
        self._source, self._links, self._left = source, links[::-1], 0
        self._file = self._open_next()
        self.samplerate, self.channels = self._file.samplerate, self._file.channels
        self.format, self.subtype = self._file.format, self._file.subtype

    def seekable(self) -> bool:
        """Always False."""
        return False

    def close(self) -> None:
        """Closes the sound that is open."""
        self._file.close()

    def read(self, frames: int, **options: Any) -> np.ndarray:
        """See `soundfile.SoundFile.read`."""
        while True:
            block = self._file.read(min(frames, self._left), **options)
            self._left -= len(block)
            if len(block) or not frames or not self._links:
                return block
            self._file.close()
            self._file = self._open_next()
            kind = (self._file.samplerate, self._file.channels)
            if kind != (self.samplerate, self.channels):
                raise UnusableAudio(
                    f"concatenated sounds of {self.samplerate} Hz and {self.channels} channels,"
                    f" then of {kind[0]} Hz and {kind[1]} channels; split the file, for example"
                    " with ffmpeg"
                )

    def _open_next(self) -> soundfile.SoundFile:
        file = _sound(View(self._source, self._links.pop().parts or ()))
        _only_forwards(file)
        self._left = file.frames
        return file


AudioFile: TypeAlias = soundfile.SoundFile | Chain


def _only_forwards(file: soundfile.SoundFile) -> None:
    """Keeps soundfile from seeking to its own position after every read: that is slow in FLAC and
    wrong in MP3 of variable bit rate."""
    file.seekable = lambda: False


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rpartition(": ")[2].rstrip(".") or type(error).__name__


def read_blocks(file: AudioFile) -> Iterator[np.ndarray]:
    """Blocks of a whole file, float32 ``[frames, channels]``, in bounded memory.

    `file.blocks` yields as many frames as the header promises, even if the file has fewer.
    """
    count, left = max(1, _BLOCK // file.channels), file.frames
    # Some decoders fail if read past the end.
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
    """``length`` samples from sample ``start`` on; silence past the end of the file.

    Seeks where possible, and decodes only what the excerpt needs.

    Args:
      path: any file libsndfile reads.
      start, length: samples at ``sample_rate``.
      sample_rate: Hz to resample to. An excerpt differs from that part of the resampled file
        by at most 2e-5 of full scale.
      channels: one of `CHANNEL_POLICIES`, see `mix`.
      channel: index of a single channel to read, whatever the policy.
      seeks: whether an excerpt can be decoded alone (see `Examination`).

    Returns:
      float32 ``[length]``, or ``[length, 2]`` for "stereo".

    Raises:
      UnusableAudio: the file cannot be read.
    """
    with opened(path, seeks=seeks) as file:

        def read(first: int, count: int) -> np.ndarray:
            _go_to(file, first)
            return mix(file.read(count, dtype="float32", always_2d=True), channels, channel)

        frames = file.frames if file.seekable() else _ENDLESS
        return resampled_excerpt(read, frames, file.samplerate, start, length, sample_rate)


def _go_to(file: AudioFile, frame: int) -> None:
    """Moves to a frame, counted from the beginning; later reads only go forwards."""
    position = 0
    if not isinstance(file, Chain) and file.seekable():
        position = frame
        if file.format == "OGG" and file.subtype == "VORBIS":
            # libsndfile seeks wrongly in the last page, whose end may be cut.
            position = min(frame, max(0, ogg.last_page(Source(file.name)) - _LONGEST_BLOCK))
        file.seek(position)
        _only_forwards(file)
    _skip(file, frame - position)


def _skip(file: AudioFile, frames: int) -> None:
    """Decodes and drops that many frames; some codecs cannot seek."""
    count = max(1, _BLOCK // file.channels)
    while frames > 0 and len(block := file.read(min(frames, count), always_2d=True)):
        frames -= len(block)


def mix(audio: np.ndarray, channels: str, channel: int | None = None) -> np.ndarray:
    """Audio ``[samples, channels]`` reduced by one of `CHANNEL_POLICIES`.

    "mono" is the mean of all channels, "first" the first: ``[samples]``. "stereo" is the first two,
    or the only channel twice: ``[samples, 2]``. "each" needs a ``channel``.
    """
    if channel is not None:
        return audio[:, channel]
    if channels == "stereo":
        return audio[:, :2] if audio.shape[1] > 1 else np.repeat(audio, 2, axis=1)
    if channels == "first" or audio.shape[1] == 1:
        return audio[:, 0]
    # By column: NumPy's mean along a short axis takes 30 times as long.
    total = audio[:, 0] + audio[:, 1]
    for column in range(2, audio.shape[1]):
        total += audio[:, column]
    return total / np.float32(audio.shape[1])


def resampled_length(frames: Any, rate: Any, sample_rate: int) -> Any:
    """Number of samples after resampling ``frames`` from ``rate`` to ``sample_rate``; numbers or
    arrays."""
    return -(-frames * sample_rate // rate)


def resampled_excerpt(
    read: Callable[[int, int], np.ndarray],
    frames: int,
    rate: int,
    start: int,
    length: int,
    sample_rate: int,
) -> np.ndarray:
    """An excerpt of a resampled signal; reads only the part of the signal that it needs.

    Args:
      read: returns ``count`` frames from ``first`` on, ``[count]`` or ``[count, channels]``.
      frames: length of the signal.
      rate: Hz, of the signal.
      start, length: samples at ``sample_rate``.
      sample_rate: Hz, of the result.

    Returns:
      float32 ``[length]`` or ``[length, channels]``; silence past the end.
    """
    divisor = math.gcd(rate, sample_rate)
    up, down = sample_rate // divisor, rate // divisor
    margin = 0 if up == down else _MARGIN * max(1, up // down)
    # Begin where an output sample coincides with an input sample.
    block = max(0, (start - margin) // up)
    first = min(block * down, frames)
    count = min(frames - first, -(-(start + length + margin - block * up) * down // up))
    audio = read(first, max(0, count))
    if up != down and len(audio):
        audio = soxr.resample(audio, rate, sample_rate, "HQ")
    return cut(audio, start - block * up, length)


def cut(audio: np.ndarray, start: int, length: int) -> np.ndarray:
    """A copy of ``length`` samples from ``start`` on; silence past the end."""
    audio = audio[start : start + length]
    if len(audio) == length:
        return audio.copy()
    out = np.zeros((length, *audio.shape[1:]), np.float32)
    out[: len(audio)] = audio
    return out


def write(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """Writes float32 ``[samples]`` or ``[samples, channels]`` as a 16-bit WAV, atomically;
    clips at full scale."""
    kind = {"samplerate": sample_rate, "channels": 1 if audio.ndim == 1 else audio.shape[1]}
    with (
        files.atomic_write(path) as temporary,
        creating(temporary, **kind, format="WAV", subtype="PCM_16") as file,
    ):
        file.write(np.clip(audio, -1, 1))


@contextlib.contextmanager
def creating(path: Path, **options: Any) -> Iterator[soundfile.SoundFile]:
    """A sound file to write, with the arguments of `soundfile.SoundFile`. Errors of the disk are
    raised as `OSError`; libsndfile hides them, or ignores them in Ogg and MP3."""
    with path.open("w+b") as raw:
        checked = _Checked(raw)
        try:
            with soundfile.SoundFile(checked, "w", **options) as file:
                yield file
        finally:
            if checked.error is not None:
                raise checked.error


class _Checked:
    """A file that records the first error of `write` instead of raising it."""

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
