"""Examination of a whole audio file: its format, its level, and whether it is intact."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aejax.data.audio_file import AudioFile, NotAudio, UnusableAudio, open_parsed, read_blocks
from aejax.data.containers import Link, contradiction, mpeg_link

LOWEST_RATE, HIGHEST_RATE = 1000, 1_000_000  # Hz
LOUDEST = 1e6  # in units of full scale; above it the power of a spectrum overflows float32
# Equal neighbouring samples at least this loud are counted as clipped.
_FULL_SCALE = 32767 / 32768
# Most frames per byte. Silence compresses best: FLAC takes some 12 bytes for 65,535 frames. The
# densest of the other formats is GSM, with 5 frames per byte.
_DENSEST, _DENSEST_PLAIN = 8192, 16
_COMPRESSED = ("FLAC", "OGG", "MP3", "CAF")


class Examination(NamedTuple):
    """The format, size and level of a file, measured over all of it.

    Attributes:
      frames: number of frames decoded, at its own rate.
      sample_rate: Hz.
      channels: number of channels.
      format: libsndfile's names of container and encoding.
      peak: largest magnitude, full scale being 1.
      rms: root mean square over all channels.
      clipped: the fraction of samples inside a flat top at full scale.
      mono: power of the mean of all channels, as a fraction of their mean power: 1 if they are
        equal, 0 if they cancel.
      digest: 64 bits of a hash of the samples, the rate and the number of channels.
      seeks: whether an excerpt can be decoded without the audio before it; False for MP3 of
        variable bit rate, and for files that libsndfile would not read whole as they are.
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
    """Reads a whole file in bounded memory and measures it.

    Truncation is detected from the length in the header. In formats without one (IRCAM, PAF, PVF,
    XI, MP3 of constant bit rate without a Xing header) a truncated file is a valid shorter file.

    Raises:
      NotAudio: the file does not begin as audio.
      OutOfReach: the file cannot be opened or read.
      UnusableAudio: it is empty, truncated, damaged, contradicts itself, or has NaN, infinity, or
        samples or a sample rate out of range.
    """
    with open_parsed(path) as (file, source, links):
        if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
            raise UnusableAudio(f"a sample rate of {file.samplerate} Hz")
        _refuse_lookalikes(file, links)
        measured = _measure(file, _most_frames(file, source.size))
        if file.format == "MP3":  # recognised by libsndfile alone
            links = [mpeg_link(source)]
        _compare(measured, file, links)
    single = len(links) == 1 and links[0].parts is None and links[0].seeks
    # MPEG audio in another container cannot be sought in.
    return measured._replace(seeks=single and (file.format == "MP3" or "MPEG" not in file.subtype))


def _refuse_lookalikes(file: AudioFile, links: list[Link]) -> None:
    """Raises for other data that libsndfile takes for audio: MPC 2000, MATLAB."""
    if file.format == "MPC2K" and links[0].frames != file.frames:
        raise NotAudio("not an MPC 2000 sample, although its first two bytes are those of one")
    if file.format in ("MAT4", "MAT5") and links[0].frames is None:
        raise NotAudio("a MATLAB file without 'wavedata'")


def _compare(measured: Examination, file: AudioFile, links: list[Link]) -> None:
    """Raises unless the decoded frames agree with libsndfile and the container."""
    if measured.frames == 0:
        raise UnusableAudio("no audio in it")
    if len(links) == 1 and measured.frames < file.frames - links[0].fewer:
        raise _truncated(measured.frames, file.frames)
    expected = [link.frames for link in links if link.frames is not None]
    if len(expected) < len(links):
        return
    scale = [measured.sample_rate / link.at_rate if link.at_rate else 1 for link in links]
    fewer, frames, more = (
        sum(int(value * factor) for value, factor in zip(values, scale, strict=True))
        for values in ([link.fewer for link in links], expected, [link.more for link in links])
    )
    if measured.frames < frames - fewer:
        raise _truncated(measured.frames, frames)
    if measured.frames > frames + more:
        raise contradiction(f"{frames} frames, of which {measured.frames} can be decoded")


def _truncated(decoded: int, expected: int) -> UnusableAudio:
    return UnusableAudio(f"truncated or damaged: {decoded} of {expected} frames can be decoded")


def _most_frames(file: AudioFile, size: int) -> int:
    """Upper bound of the frames in a file of that many bytes."""
    dense = file.format in _COMPRESSED or "MPEG" in file.subtype
    return size * (_DENSEST if dense else _DENSEST_PLAIN)


def _measure(file: AudioFile, most: int) -> Examination:
    frames, peak, clipped, squares, mono_squares = 0, 0.0, 0, 0.0, 0.0
    channels, rate = file.channels, file.samplerate
    digest = hashlib.blake2b(f"{rate} {channels}".encode(), digest_size=8)
    for block in read_blocks(file):
        highest, lowest = float(block.max()), float(block.min())
        loudest = max(highest, -lowest)
        if not np.isfinite(loudest):
            raise UnusableAudio("non-finite samples (NaN or infinity)")
        if loudest > LOUDEST:
            raise UnusableAudio(f"samples up to {loudest:.0e}, full scale being 1")
        frames += len(block)
        if frames > most:  # some decoders never stop by themselves
            raise contradiction("more frames than its bytes can hold")
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
    """The sum of squares, in pieces: float32 sums of a million squares lose digits."""
    return float(sum(float(np.dot(piece, piece)) for piece in np.array_split(samples, 64)))


def _flat_tops(block: np.ndarray) -> int:
    """Number of samples at or above full scale that equal the previous one. Loud audio in floats is
    not clipped: its peaks are not flat."""
    loud = np.abs(block[1:]) >= _FULL_SCALE
    return int(np.count_nonzero(loud & (block[1:] == block[:-1])))
