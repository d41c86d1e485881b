"""Reconstruction of audio files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data import streams
from aejax.data.audio_file import resampled_length
from aejax.data.examination import examine
from aejax.data.streams import Sound
from aejax.inference import limiter
from aejax.inference.model import Encoded, Read, TrainedModel
from aejax.runtime import words
from aejax.runtime.errors import UserError


def reconstruct(model: TrainedModel, source: Path, target: Path) -> str:
    """Writes a model's reconstruction of a file; length, rate and channels stay the same.

    A mono model reconstructs each channel separately.

    Args:
      model: the trained model.
      source, target: audio files; the suffix of the target determines the format, see
        `aejax.data.streams.format_of`.

    Returns:
      A message about clipping, or "".

    Raises:
      UnusableAudio, UserError: the file cannot be read or written.
    """
    sound = output_sound(source, target.name)
    encoded = encode(model, source, sound.channels, samples_of(sound, model.sample_rate))
    audio = decoded(model, encoded, sound.channels)
    return write(audio, model, sound, target, encoded.highest_ceilings)


def output_sound(source: Path, name: str) -> Sound:
    """Length, rate and channels of a file, with the format of the output file ``name``.

    Raises:
      UnusableAudio, UserError: see `examine` and `aejax.data.streams.checked`.
    """
    info = examine(source)
    container = streams.format_of(name, info.format)
    sound = Sound(info.frames, info.sample_rate, info.channels, container)
    return streams.checked(name, sound)


def samples_of(sound: Sound, sample_rate: int) -> int:
    """Length of a sound at another rate, in samples."""
    return resampled_length(sound.samples, sound.sample_rate, sample_rate)


def encode(
    model: TrainedModel, source: Path, channels: int, samples: int, **options: Any
) -> Encoded:
    """Latents and peak limits of a file: a row for each channel, or one row for a stereo model.

    Args:
      model: the trained model.
      source: an audio file.
      channels: of the file.
      samples: at the model's rate; silence follows a shorter file.
      options: of `TrainedModel.encode_stream`.
    """
    model_channels = model.channels
    if model_channels < channels and model_channels > 1:
        raise UserError(
            f"it has {channels} channels, but the model was trained on {model_channels};"
            " mix it down first"
        )
    with streams.reading(source, model.sample_rate) as file:
        encoded = model.encode_stream(reader(model, file), samples, **options)
    # Peaks at the file's rate: resampling overshoots.
    peaks = file.peaks if model_channels == 1 else file.peaks.max(keepdims=True)
    ceilings = np.minimum(encoded.ceilings, limiter.ceiling(peaks)[:, None])
    return encoded._replace(ceilings=ceilings)


def reader(model: TrainedModel, file: streams.Reader) -> Read:
    """A function that reads a file in a model's shape: a row per channel, or one stereo row."""

    def read(start: int, count: int) -> np.ndarray:
        audio, channels = file.read(start, count), model.channels
        return audio if channels == 1 else np.broadcast_to(audio, (channels, count)).T[None]

    return read


def decoded(
    model: TrainedModel, encoded: Encoded, channels: int, speaker: str | None = None
) -> Iterator[np.ndarray]:
    """Decoded audio in chunks ``[samples, channels]``, in the voice of ``speaker`` if not None."""
    chunks = model.decode_stream(encoded.latents, speaker, encoded.ceilings)
    return in_channels(model, chunks, channels)


def in_channels(
    model: TrainedModel, chunks: Iterable[np.ndarray], channels: int
) -> Iterator[np.ndarray]:
    """A model's output audio as ``[samples, channels]``.

    Raises:
      UserError: it is not finite.
    """
    for audio in chunks:
        if not np.isfinite(audio).all():
            raise UserError("the model's output is not finite; nothing is written")
        if model.channels == 1:
            yield audio.T
        else:
            yield audio[0] if channels > 1 else audio[0].mean(axis=1, keepdims=True)


def write(
    audio: Iterable[np.ndarray],
    model: TrainedModel,
    sound: Sound,
    target: Path,
    most: np.ndarray,
    comment: str = "",
) -> str:
    """Writes audio; returns a message about clipping, or "".

    Args:
      audio: chunks ``[samples, channels]`` at the model's rate.
      model: the trained model.
      sound: length, rate, channels and format of the file.
      target: the file.
      most: peak limit of each channel, or of all.
      comment: text for the metadata.
    """
    at_rate = streams.resampled(audio, model.sample_rate, sound.sample_rate, sound.channels)
    limited = (np.clip(block, -most, most) for block in at_rate)
    clipped = streams.write(target, limited, sound, comment=comment)
    return f"clipped beyond full scale: {words.count(clipped, 'sample')}" if clipped else ""
