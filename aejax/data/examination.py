"""Examining an audio file from end to end: is it what it says, and what is in it?"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aejax.data.audio_file import AudioFile, NotAudio, UnusableAudio, read_blocks, walked
from aejax.data.containers import Link, contradiction, mpeg_link

LOWEST_RATE, HIGHEST_RATE = 1000, 1_000_000  # Hz
LOUDEST = 1e6  # in units of full scale; beyond that the power of a spectrum overflows float32
# Two equal neighbours at least this loud are taken for one clipped peak.
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
      seeks: whether a stretch of it can be decoded alone; False for MP3 of variable bit rate, and
        for what libsndfile would not read whole as it is.
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
    with walked(path) as (file, source, links):
        if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
            raise UnusableAudio(f"a sample rate of {file.samplerate} Hz")
        _refuse_lookalikes(file, links)
        found = _measure(file, _most_frames(file, source.size))
        if file.format == "MP3":  # which only libsndfile knows by its first bytes
            links = [mpeg_link(source)]
        _compare(found, file, links)
    plain = len(links) == 1 and links[0].parts is None and links[0].seeks
    # MPEG audio in another container cannot be sought in.
    return found._replace(seeks=plain and (file.format == "MP3" or "MPEG" not in file.subtype))


def _refuse_lookalikes(file: AudioFile, links: list[Link]) -> None:
    """Formats that libsndfile knows by less than four bytes, or that hold other things too."""
    if file.format == "MPC2K" and links[0].frames != file.frames:
        raise NotAudio("not the MPC 2000 sample that its first two bytes say")
    if file.format in ("MAT4", "MAT5") and links[0].frames is None:
        raise NotAudio("a MATLAB file without 'wavedata'")


def _compare(found: Examination, file: AudioFile, links: list[Link]) -> None:
    """What was decoded has to be what libsndfile and the walk over the container expected."""
    if found.frames == 0:
        raise UnusableAudio("no audio in it")
    if len(links) == 1 and found.frames < file.frames - links[0].fewer:
        raise _short(found.frames, file.frames)
    expected = [link.frames for link in links if link.frames is not None]
    if len(expected) < len(links):
        return
    scale = [found.sample_rate / link.at_rate if link.at_rate else 1 for link in links]
    fewer, frames, more = (
        sum(int(value * factor) for value, factor in zip(values, scale, strict=True))
        for values in ([link.fewer for link in links], expected, [link.more for link in links])
    )
    if found.frames < frames - fewer:
        raise _short(found.frames, frames)
    if found.frames > frames + more:
        raise contradiction(f"{frames} frames, of which {found.frames} can be decoded")


def _short(decoded: int, expected: int) -> UnusableAudio:
    return UnusableAudio(f"truncated or damaged: {decoded} of {expected} frames can be decoded")


def _most_frames(file: AudioFile, size: int) -> int:
    """More than this cannot be in the file, whatever its header says."""
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
        if frames > most:  # some decoders go on for as long as they are told to
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
    """The sum of squares, by pieces: float32 sums of a million squares lose digits."""
    return float(sum(float(np.dot(piece, piece)) for piece in np.array_split(samples, 64)))


def _flat_tops(block: np.ndarray) -> int:
    """Samples at full scale or beyond that are equal to their neighbour before. Loud audio in
    floats is not clipped: its tops are round."""
    loud = np.abs(block[1:]) >= _FULL_SCALE
    return int(np.count_nonzero(loud & (block[1:] == block[:-1])))
