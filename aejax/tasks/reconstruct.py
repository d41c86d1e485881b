"""What comes back of audio files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aejax import limiter
from aejax.data import streams
from aejax.data.audio_file import resampled_length
from aejax.data.examination import examine
from aejax.data.streams import Sound
from aejax.errors import UserError
from aejax.trained import Encoded, Read, TrainedModel


def reconstruct(model: TrainedModel, source: Path, target: Path) -> str:
    """Writes what a model makes of a file: as long, at the same rate, with as many channels.

    A model of one channel has each channel by itself.

    Args:
      model: trained.
      source, target: audio files; the target's name decides its format, see
        `aejax.data.streams.format_of`.

    Returns:
      What there is to say of it, or nothing.

    Raises:
      UnusableAudio, UserError: the file cannot be read, or not be written.
    """
    sound = like(source, target.name)
    encoded = encode(model, source, sound.channels, samples_of(sound, model.sample_rate))
    back = decoded(model, encoded, sound.channels)
    return write(back, model, sound, target, encoded.most)


def like(source: Path, name: str) -> Sound:
    """A sound as a file has it, to be written under that name; raises what `examine` and
    `aejax.data.streams.checked` do."""
    found = examine(source)
    container = streams.format_of(name, found.format)
    sound = Sound(found.frames, found.sample_rate, found.channels, container)
    return streams.checked(name, sound)


def samples_of(sound: Sound, sample_rate: int) -> int:
    """Its length at another rate."""
    return resampled_length(sound.samples, sound.sample_rate, sample_rate)


def encode(
    model: TrainedModel, source: Path, channels: int, samples: int, **options: Any
) -> Encoded:
    """Latents of a file, and how loud it may come back: a row for each channel, or one for both of
    a model of stereo.

    Args:
      model: trained.
      source: of as many channels.
      channels: of the file.
      samples: at the model's rate, with silence behind what is there.
      options: of `TrainedModel.encode_stream`.
    """
    own = model.channels
    if own < channels and own > 1:
        raise UserError(
            f"it has {channels} channels, and the model was trained on {own} together; mix them"
            " down first"
        )
    with streams.reading(source, model.sample_rate) as file:
        encoded = model.encode_stream(reader(model, file), samples, **options)
    # At its own rate: resampling overshoots.
    peaks = file.peaks if own == 1 else file.peaks.max(keepdims=True)
    ceilings = np.minimum(encoded.ceilings, limiter.ceiling(peaks)[:, None])
    return encoded._replace(ceilings=ceilings)


def reader(model: TrainedModel, file: streams.Reader) -> Read:
    """A file as a model takes it: a row for each channel, or for both together."""

    def read(start: int, count: int) -> np.ndarray:
        audio, own = file.read(start, count), model.channels
        return audio if own == 1 else np.broadcast_to(audio, (own, count)).T[None]

    return read


def decoded(
    model: TrainedModel, encoded: Encoded, channels: int, speaker: str | None = None
) -> Iterator[np.ndarray]:
    """Audio ``[samples, channels]`` of a sound of so many channels, stretch by stretch; in the
    voice of a speaker."""
    stretches = model.decode_stream(encoded.latents, speaker, encoded.ceilings)
    return in_channels(model, stretches, channels)


def in_channels(
    model: TrainedModel, stretches: Iterable[np.ndarray], channels: int
) -> Iterator[np.ndarray]:
    """Audio as a model puts it out, as ``[samples, channels]``.

    Raises:
      UserError: it is not finite.
    """
    for audio in stretches:
        if not np.isfinite(audio).all():
            raise UserError("the model makes of it audio that is not finite; nothing is written")
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
    """Writes audio at the model's rate as that sound, of which no sample is above ``most``, of each
    channel or of all; what there is to say of it."""
    at_rate = streams.resampled(audio, model.sample_rate, sound.sample_rate, sound.channels)
    within = (np.clip(block, -most, most) for block in at_rate)
    clipped = streams.write(target, within, sound, comment=comment)
    return f"{clipped} samples were beyond full scale, and are clipped" if clipped else ""
