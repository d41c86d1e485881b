"""From one sound to another in steps, through the latents between them."""

from collections.abc import Iterator, Sequence
from itertools import chain, product
from pathlib import Path

import numpy as np

from aejax.data import streams
from aejax.data.audio_file import resampled_length
from aejax.data.streams import Sound
from aejax.errors import UserError
from aejax.runtime import files
from aejax.tasks import reconstruct
from aejax.trained import Encoded, TrainedModel

_APART = ".wav"  # of steps in a folder


def weights(steps: int, corners: int) -> Iterator[np.ndarray]:
    """How much of each corner there is at each step: along a line of two, or over a square of four,
    row by row, whose corners are those of the first row, then those of the last."""
    line = np.linspace(0, 1, steps, dtype=np.float32)
    if corners == 2:
        yield from np.stack([1 - line, line], axis=1)
        return
    for down, right in product(line, line):
        yield np.outer([1 - down, down], [1 - right, right]).ravel().astype(np.float32)


def interpolate(model: TrainedModel, sources: Sequence[Path], target: Path, steps: int) -> str:
    """Writes sounds from one to another, the first and the last as they are reconstructed.

    Args:
      model: trained.
      sources: two audio files, or four, the corners of a square. The shorter are followed by
        silence.
      target: an audio file, for all steps one after the other; or a name without a suffix, for a
        new folder with a file for each.
      steps: from one to another, both included.

    Returns:
      What there is to say of it, or nothing.

    Raises:
      UnusableAudio, UserError: a file cannot be read, or not be written.
    """
    apart = not target.suffix
    name = f"-{_APART}" if apart else target.name
    sounds = [reconstruct.like(source, name) for source in sources]
    channels = max(sound.channels for sound in sounds)
    for source, sound in zip(sources, sounds, strict=True):
        if sound.channels not in (1, channels):
            raise UserError(f"{source} has {sound.channels} channels, and another {channels}")
    rate = max(sound.sample_rate for sound in sounds)
    longest = max(reconstruct.samples_of(sound, model.sample_rate) for sound in sounds)
    samples = resampled_length(longest, model.sample_rate, rate)
    one = Sound(samples, rate, channels, sounds[0].container)
    whole = one
    if not apart:
        count = steps ** (len(sources) // 2)
        whole = one._replace(samples=resampled_length(longest * count, model.sample_rate, rate))
    whole = streams.checked(name, whole)
    rows = channels if model.channels == 1 else 1
    corners: list[np.ndarray] = []
    ceilings: list[np.ndarray] = []
    for source, sound in zip(sources, sounds, strict=True):
        encoded = reconstruct.encode(model, source, sound.channels, longest)
        for each, array in zip((corners, ceilings), encoded, strict=True):
            each.append(np.broadcast_to(array, (rows, *array.shape[1:])))
    ends, ceilings_of_ends = np.stack(corners), np.stack(ceilings)
    # Silence in all of them is silence between them.
    silent = np.expand_dims(model.is_silent(ends).all(axis=0), -1)
    mixed = [
        Encoded(
            np.where(silent, model.silence, np.tensordot(each, ends, 1)),
            np.tensordot(each, ceilings_of_ends, 1),
        )
        for each in weights(steps, len(corners))
    ]
    if not apart:
        stretches = (
            streams.exactly(reconstruct.decoded(model, encoded, channels), longest, channels)
            for encoded in mixed
        )
        most = ceilings_of_ends.max(axis=(0, 2))
        return reconstruct.write(chain.from_iterable(stretches), model, whole, target, most)
    said = []
    with files.replacing_folder(target) as folder:
        for place, encoded in enumerate(mixed):
            down, right = divmod(place, steps)
            name = f"{right + 1}" if len(corners) == 2 else f"{down + 1}_{right + 1}"
            audio = reconstruct.decoded(model, encoded, channels)
            beside = folder / f"{name}{_APART}"
            said.append(reconstruct.write(audio, model, whole, beside, encoded.most))
    return "; ".join(line for line in said if line)
