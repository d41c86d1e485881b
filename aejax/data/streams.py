"""Audio files of any length in bounded memory: read once from beginning to end, and written."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from aejax.data.audio_file import opened, read_blocks
from aejax.errors import UserError
from aejax.runtime import files

# Containers by what a file is called; what else libsndfile writes nobody asks for.
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
_SILENCE = 2**16  # samples at a time


class Reader:
    """A file in stretches that may overlap, but never begin before the last one did.

    Nothing is sought in the file: it is decoded once, in order, whatever its format.

    Args:
      file: at its beginning.
      sample_rate: Hz to resample to.
    """

    def __init__(self, file: soundfile.SoundFile, sample_rate: int):
        self._blocks = resampled(read_blocks(file), file.samplerate, sample_rate, file.channels)
        self._first = 0
        self._kept = np.zeros((0, file.channels), np.float32)

    def read(self, start: int, count: int) -> np.ndarray:
        """Samples from one on, ``[channels, count]``; silence past the end."""
        if start < self._first:
            raise ValueError(f"sample {start} is not there any more; {self._first} is the first")
        self._drop(start)
        parts, there = [self._kept], len(self._kept)
        while self._first + there < start + count:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            there += len(block)
        self._kept = np.concatenate(parts)
        self._drop(start)
        found = self._kept[:count].T
        return np.pad(found, ((0, 0), (0, count - found.shape[1])))

    def _drop(self, start: int) -> None:
        gone = min(start - self._first, len(self._kept))
        self._kept, self._first = self._kept[gone:], self._first + gone


def resampled(
    blocks: Iterable[np.ndarray], rate: int, wanted: int, channels: int
) -> Iterator[np.ndarray]:
    """Audio ``[samples, channels]`` block by block at another rate: the same numbers as all of it
    at once."""
    if rate == wanted:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, wanted, channels, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block)).reshape(-1, channels)
    rest = np.zeros((0, channels), np.float32)
    yield stream.resample_chunk(rest, last=True).reshape(-1, channels)


@contextlib.contextmanager
def reading(path: Path, sample_rate: int) -> Iterator[Reader]:
    """A `Reader` of a file; raises what `aejax.data.audio_file.opened` does."""
    with opened(path, seeks=False) as file:
        yield Reader(file, sample_rate)


def format_of(name: str, like: str = "") -> tuple[str, str]:
    """libsndfile's container and encoding for a file that is called so.

    Args:
      name: of the file, of which the suffix counts.
      like: container and encoding of another file, whose encoding is taken where the container is
        the same.

    Raises:
      UserError: nothing that is called so can be written.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise UserError(f"{name}: cannot write {suffix or 'a file without a suffix'}; {known} can")
    container = FORMATS[suffix]
    theirs, _, encoding = like.partition(" ")
    if suffix == ".opus":
        return container, "OPUS"
    if theirs == container and soundfile.check_format(container, encoding):
        return container, encoding
    return container, soundfile.default_subtype(container)


class Sound(NamedTuple):
    """What a file is to be.

    Attributes:
      samples: of each channel.
      sample_rate: Hz.
      channels: how many.
      container: of `format_of`.
    """

    samples: int
    sample_rate: int
    channels: int
    container: tuple[str, str]


def write(path: Path, blocks: Iterable[np.ndarray], sound: Sound, *, comment: str = "") -> int:
    """Writes audio block by block, whole or not at all.

    Args:
      path: of the file.
      blocks: float32 ``[samples, channels]``; what is too much is cut, what is missing is silence.
      sound: what it is to be.
      comment: plain text for the file's metadata.

    Returns:
      How many samples were beyond full scale, and are cut there; in floats none are.

    Raises:
      UserError: libsndfile does not write this rate or number of channels in that format, or a
        comment.
    """
    clipped = 0
    with files.replacing(path) as beside, _created(beside, sound, path.name) as file:
        if comment:
            _note(file, comment, path.name)
        for block in exactly(blocks, sound.samples, sound.channels):
            if file.subtype not in ("FLOAT", "DOUBLE"):
                clipped += int((np.abs(block) > 1).sum())
                block = np.clip(block, -1, 1)
            file.write(block)
    return clipped


def _note(file: soundfile.SoundFile, comment: str, name: str) -> None:
    try:
        file.comment = comment
    except (soundfile.LibsndfileError, RuntimeError):
        raise UserError(
            f"{name}: {file.format} has no room for a note, which would be {comment!r}; take .wav,"
            " .flac or .ogg"
        ) from None


@contextlib.contextmanager
def _created(path: Path, sound: Sound, name: str) -> Iterator[soundfile.SoundFile]:
    container, encoding = sound.container
    try:
        file = soundfile.SoundFile(
            path, "w", sound.sample_rate, sound.channels, format=container, subtype=encoding
        )
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{name}: libsndfile does not write {container} {encoding}"
            f" with {sound.channels} channels at {sound.sample_rate} Hz"
            f" ({' '.join(str(error.error_string).split())})"
        ) from None
    with file:
        yield file


def exactly(blocks: Iterable[np.ndarray], samples: int, channels: int) -> Iterator[np.ndarray]:
    """Blocks ``[samples, channels]`` of so many samples in all: cut, or with silence behind."""
    left = samples
    for block in blocks:
        if not left:
            return
        yield block[:left]
        left -= min(len(block), left)
    while left:
        count = min(left, _SILENCE)
        yield np.zeros((count, channels), np.float32)
        left -= count
