"""Reading and writing of audio files of any length in bounded memory, forwards."""

import contextlib
import functools
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from aejax.data import audio_file
from aejax.data.audio_file import AudioFile, opened, read_blocks
from aejax.runtime import files
from aejax.runtime.errors import UserError

# Containers by suffix.
FORMATS = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aif": "AIFF",
    ".aiff": "AIFF",
    ".au": "AU",
    ".caf": "CAF",
    ".w64": "W64",
}
_WAVS = {"WAV", "WAVEX", "RF64", "W64"}  # these take the same encodings
_BLOCK = 2**16  # samples written at a time; libvorbis crashes on many at once
# Bytes per sample; at most one in other encodings.
_WIDTHS = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_WIDTHS |= {"ALAC_16": 2, "ALAC_20": 3, "ALAC_24": 3, "ALAC_32": 4}
_MOST_BYTES = 2**32 - 2**20  # of sound with 32-bit sizes, less room for the header
_NOT_WRITTEN = 1  # libsndfile's error code of "format not recognised"
_MOST_SAMPLES = 2**36 - 1  # of FLAC


class Reader:
    """Reads a file in excerpts that may overlap, each starting no earlier than the one before.

    The file is decoded once, without seeking.

    Args:
      file: an open file at its beginning.
      sample_rate: Hz to resample to.

    Attributes:
      peaks: ``[channels]``, of the audio read so far, at the file's own rate.
    """

    def __init__(self, file: AudioFile, sample_rate: int):
        self.peaks = np.zeros(file.channels, np.float32)
        blocks = self._track_peaks(read_blocks(file))
        self._blocks = resampled(blocks, file.samplerate, sample_rate, file.channels)
        self._first = 0
        self._buffer = np.zeros((0, file.channels), np.float32)

    def read(self, start: int, count: int) -> np.ndarray:
        """``count`` samples from ``start`` on, ``[channels, count]``; silence past the end."""
        if start < self._first:
            raise ValueError(
                f"sample {start} is no longer buffered, only those from {self._first} on"
            )
        self._drop(start)
        parts, available = [self._buffer], len(self._buffer)
        while self._first + available < start + count:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            available += len(block)
        self._buffer = np.concatenate(parts)
        self._drop(start)
        samples = self._buffer[:count].T
        return np.pad(samples, ((0, 0), (0, count - samples.shape[1])))

    def _track_peaks(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            self.peaks = np.maximum(self.peaks, np.abs(block).max(axis=0, initial=0))
            yield block

    def _drop(self, start: int) -> None:
        dropped = min(start - self._first, len(self._buffer))
        self._buffer, self._first = self._buffer[dropped:], self._first + dropped


def resampled(
    blocks: Iterable[np.ndarray], rate: int, new_rate: int, channels: int
) -> Iterator[np.ndarray]:
    """Blocks of audio ``[samples, channels]`` at another rate, as if resampled in one piece."""
    if rate == new_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block)).reshape(-1, channels)
    rest = np.zeros((0, channels), np.float32)
    yield stream.resample_chunk(rest, last=True).reshape(-1, channels)


@contextlib.contextmanager
def reading(path: Path, sample_rate: int) -> Iterator[Reader]:
    """A `Reader` of a file; raises as `aejax.data.audio_file.opened`."""
    with opened(path, seeks=False) as file:
        yield Reader(file, sample_rate)


def format_of(name: str, like: str = "") -> tuple[str, str]:
    """libsndfile's container and encoding for a file name.

    Args:
      name: of the file; only the suffix counts.
      like: container and encoding of another file, whose encoding is used if possible.

    Raises:
      UserError: no format that can be written has this suffix.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise UserError(f"{name}: cannot write {suffix or 'a file without a suffix'}, only {known}")
    container = FORMATS[suffix]
    other, _, encoding = like.partition(" ")
    if suffix == ".opus":
        return container, "OPUS"
    same_family = other == container or {other, container} <= _WAVS
    unwritable = encoding.startswith("MPEG")  # libsndfile writes only the default of these
    if unwritable or not same_family or not soundfile.check_format(container, encoding):
        encoding = soundfile.default_subtype(container)
    return container, encoding


class Sound(NamedTuple):
    """The format and size of a file to be written.

    Attributes:
      samples: of each channel.
      sample_rate: Hz.
      channels: number of channels.
      container: container and encoding, see `format_of`.
    """

    samples: int
    sample_rate: int
    channels: int
    container: tuple[str, str]


def checked(name: str, sound: Sound) -> Sound:
    """The sound as it will be written, checked in advance: WAV of 4 GiB or more becomes RF64.

    Args:
      name: of the file, for the message.
      sound: the requested format and size.

    Raises:
      UserError: libsndfile or the container cannot hold it.
    """
    container, encoding = sound.container
    size = sound.samples * sound.channels * _WIDTHS.get(encoding, 1)
    if size > _MOST_BYTES and container == "WAV" and soundfile.check_format("RF64", encoding):
        container = "RF64"
    if size > _MOST_BYTES and container in ("WAV", "AIFF", "AU"):
        raise UserError(
            f"{name}: {size / 2**30:.1f} GiB, and {container} {encoding} holds 4 at most; use"
            " .flac, .w64 or .caf"
        )
    if container == "FLAC" and sound.samples > _MOST_SAMPLES:
        raise UserError(f"{name}: FLAC holds {_MOST_SAMPLES} samples at most; use .w64 or .caf")
    problem = _problem(container, encoding, sound.sample_rate, sound.channels)
    if problem:
        raise UserError(
            f"{name}: libsndfile does not write {container} {encoding} with {sound.channels}"
            f" channels at {sound.sample_rate} Hz: {problem}"
        )
    return sound._replace(container=(container, encoding))


@functools.lru_cache(256)
def _problem(container: str, encoding: str, sample_rate: int, channels: int) -> str:
    """Why this format cannot be written, tested with a short sound in memory; "" if it can."""
    if not (0 < sample_rate < 2**31 and 0 < channels <= 1024):
        return "libsndfile takes 1 to 1024 channels and 1 to 2147483647 Hz"
    if encoding == "VORBIS" and not (sample_rate <= 200_000 and channels <= 255):
        return "Vorbis takes 255 channels and 200000 Hz at most; use .flac or .wav"  # or crashes
    kind = {"samplerate": sample_rate, "channels": channels}
    memory = io.BytesIO()
    try:
        with soundfile.SoundFile(memory, "w", **kind, format=container, subtype=encoding) as file:
            file.write(np.zeros((64, channels), np.float32))
        memory.seek(0)
        with soundfile.SoundFile(memory) as file:
            back = {"samplerate": file.samplerate, "channels": file.channels}
    except soundfile.LibsndfileError as error:
        reason = " ".join(str(error.error_string).split()).removeprefix("Error : ").rstrip(".")
        if error.code == _NOT_WRITTEN:
            reason = f"{container} does not take so many channels in {encoding}"
        return f"{reason}; use .wav"
    return "" if back == kind else f"it would be read back as {back}; use .wav"


def write(path: Path, blocks: Iterable[np.ndarray], sound: Sound, *, comment: str = "") -> int:
    """Writes audio block by block, atomically.

    Args:
      path: of the file.
      blocks: float32 ``[samples, channels]``; cut or padded with silence to ``sound.samples``.
      sound: its format and size.
      comment: plain text for the file's metadata.

    Returns:
      The number of samples clipped at full scale; 0 for float encodings.

    Raises:
      UserError: see `checked`; or the format has no comment.
    """
    sound = checked(path.name, sound)
    container, encoding = sound.container
    kind = {"samplerate": sound.sample_rate, "channels": sound.channels}
    clipped = 0
    with (
        files.atomic_write(path) as temporary,
        audio_file.creating(temporary, **kind, format=container, subtype=encoding) as file,
    ):
        if comment:
            _set_comment(file, comment, path.name)
        for block in exactly(blocks, sound.samples, sound.channels):
            if file.subtype not in ("FLOAT", "DOUBLE"):
                clipped += int((np.abs(block) > 1).sum())
                block = np.clip(block, -1, 1)
            for start in range(0, len(block), _BLOCK):
                file.write(block[start : start + _BLOCK])
    return clipped


def _set_comment(file: soundfile.SoundFile, comment: str, name: str) -> None:
    try:
        file.comment = comment
    except (soundfile.LibsndfileError, RuntimeError):
        raise UserError(
            f"{name}: {file.format} cannot hold the comment {comment!r}; use .wav, .flac or .ogg"
        ) from None


def exactly(blocks: Iterable[np.ndarray], samples: int, channels: int) -> Iterator[np.ndarray]:
    """Blocks ``[samples, channels]`` cut or padded with silence to ``samples`` in total."""
    left = samples
    for block in blocks:
        if not left:
            return
        yield block[:left]
        left -= min(len(block), left)
    while left:
        count = min(left, _BLOCK)
        yield np.zeros((count, channels), np.float32)
        left -= count
