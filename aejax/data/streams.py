"""Audio files of any length in bounded memory: read once from beginning to end, and written."""

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
# Containers with room for the same encodings.
_FAMILIES = ({"WAV", "WAVEX", "RF64", "W64"},)
_BLOCK = 2**16  # samples written at a time; libvorbis crashes if given many at once
# Bytes of a sample; in encodings not named here it is no more than one.
_WIDTHS = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_WIDTHS |= {"ALAC_16": 2, "ALAC_20": 3, "ALAC_24": 3, "ALAC_32": 4}
_MOST_BYTES = 2**32 - 2**20  # of sound where sizes have 32 bits, which count a header too
_NOT_WRITTEN = 1  # libsndfile's number of "format not recognised"
_MOST_SAMPLES = 2**36 - 1  # of FLAC


class Reader:
    """A file in stretches that may overlap, but never begin before the last one did.

    Nothing is sought in the file: it is decoded once, in order, whatever its format.

    Args:
      file: at its beginning.
      sample_rate: Hz to resample to.

    Attributes:
      peaks: ``[channels]``, of what was read so far, at the file's own rate.
    """

    def __init__(self, file: AudioFile, sample_rate: int):
        self.peaks = np.zeros(file.channels, np.float32)
        blocks = self._noted(read_blocks(file))
        self._blocks = resampled(blocks, file.samplerate, sample_rate, file.channels)
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

    def _noted(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            self.peaks = np.maximum(self.peaks, np.abs(block).max(axis=0, initial=0))
            yield block

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
        of the same family.

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
    if not _alike(theirs, container) or not soundfile.check_format(container, encoding):
        encoding = ""
    if encoding.startswith("MPEG"):  # of which libsndfile writes the default alone
        encoding = ""
    return container, encoding or soundfile.default_subtype(container)


def _alike(theirs: str, ours: str) -> bool:
    return theirs == ours or any({theirs, ours} <= family for family in _FAMILIES)


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


def checked(name: str, sound: Sound) -> Sound:
    """The sound as it will be written, found out before there is any: WAV of 4 GiB or more as RF64.

    Args:
      name: of the file, for the message.
      sound: what is wanted.

    Raises:
      UserError: it cannot be written, or not be said by its header.
    """
    container, encoding = sound.container
    size = sound.samples * sound.channels * _WIDTHS.get(encoding, 1)
    if size > _MOST_BYTES and container == "WAV" and soundfile.check_format("RF64", encoding):
        container = "RF64"
    if size > _MOST_BYTES and container in ("WAV", "AIFF", "AU"):
        raise UserError(
            f"{name}: {size / 2**30:.1f} GiB, and {container} {encoding} has room for 4; take"
            " .flac, .w64 or .caf"
        )
    if container == "FLAC" and sound.samples > _MOST_SAMPLES:
        raise UserError(f"{name}: FLAC has room for {_MOST_SAMPLES} samples; take .w64 or .caf")
    problem = _problem(container, encoding, sound.sample_rate, sound.channels)
    if problem:
        raise UserError(
            f"{name}: libsndfile does not write {container} {encoding} with {sound.channels}"
            f" channels at {sound.sample_rate} Hz: {problem}"
        )
    return sound._replace(container=(container, encoding))


@functools.lru_cache(256)
def _problem(container: str, encoding: str, sample_rate: int, channels: int) -> str:
    """Why that cannot be written: found out with a short sound in memory; "" if it can."""
    if not (0 < sample_rate < 2**31 and 0 < channels <= 1024):
        return "libsndfile takes 1 to 1024 channels and 1 to 2147483647 Hz"
    if encoding == "VORBIS" and not (sample_rate <= 200_000 and channels <= 255):
        return "Vorbis takes 255 channels and 200000 Hz at most; take .flac or .wav"  # or crashes
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
            reason = f"{container} does not take so many channels of {encoding}"
        return f"{reason}; take .wav"
    return "" if back == kind else f"it would come back as {back}; take .wav"


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
      UserError: see `checked`; or there is no room for a comment.
    """
    sound = checked(path.name, sound)
    container, encoding = sound.container
    kind = {"samplerate": sound.sample_rate, "channels": sound.channels}
    clipped = 0
    with (
        files.replacing(path) as beside,
        audio_file.creating(beside, **kind, format=container, subtype=encoding) as file,
    ):
        if comment:
            _note(file, comment, path.name)
        for block in exactly(blocks, sound.samples, sound.channels):
            if file.subtype not in ("FLOAT", "DOUBLE"):
                clipped += int((np.abs(block) > 1).sum())
                block = np.clip(block, -1, 1)
            for start in range(0, len(block), _BLOCK):
                file.write(block[start : start + _BLOCK])
    return clipped


def _note(file: soundfile.SoundFile, comment: str, name: str) -> None:
    try:
        file.comment = comment
    except (soundfile.LibsndfileError, RuntimeError):
        raise UserError(
            f"{name}: {file.format} has no room for a note, which would be {comment!r}; take .wav,"
            " .flac or .ogg"
        ) from None


def exactly(blocks: Iterable[np.ndarray], samples: int, channels: int) -> Iterator[np.ndarray]:
    """Blocks ``[samples, channels]`` of so many samples in all: cut, or with silence behind."""
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
