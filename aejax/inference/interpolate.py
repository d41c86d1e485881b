"""Interpolation between sounds in latent space."""

from collections.abc import Iterator, Sequence
from itertools import chain, product
from pathlib import Path

import numpy as np

from aejax.data import streams
from aejax.data.audio_file import resampled_length
from aejax.data.streams import Sound
from aejax.inference import reconstruct
from aejax.inference.model import Encoded, TrainedModel
from aejax.runtime import files
from aejax.runtime.errors import UserError

_STEP_SUFFIX = ".wav"  # of steps in a folder


def weights(steps: int, corners: int) -> Iterator[np.ndarray]:
    """Interpolation weights of the corners at each step: linear for two, bilinear for four.

    A square goes row by row; its corners are those of the first row, then those of the last.
    """
    line = np.linspace(0, 1, steps, dtype=np.float32)
    if corners == 2:
        yield from np.stack([1 - line, line], axis=1)
        return
    for down, right in product(line, line):
        yield np.outer([1 - down, down], [1 - right, right]).ravel().astype(np.float32)


def interpolate(model: TrainedModel, sources: Sequence[Path], target: Path, steps: int) -> str:
    """Writes interpolations between sounds; the first and last steps are their reconstructions.

    Args:
      model: the trained model.
      sources: two audio files, or four for the corners of a square; the shorter ones are padded
        with silence.
      target: audio file for all steps in order; without a suffix, a new folder for a file of each
        step.
      steps: along each side, both ends included.

    Returns:
      A message about clipping, or "".

    Raises:
      UnusableAudio, UserError: a file cannot be read or written.
    """
    is_folder = not target.suffix
    name = f"-{_STEP_SUFFIX}" if is_folder else target.name
    sounds = [reconstruct.output_sound(source, name) for source in sources]
    channels = max(sound.channels for sound in sounds)
    for source, sound in zip(sources, sounds, strict=True):
        if sound.channels not in (1, channels):
            raise UserError(f"{source} has {sound.channels} channels, another sound has {channels}")
    rate = max(sound.sample_rate for sound in sounds)
    longest = max(reconstruct.samples_of(sound, model.sample_rate) for sound in sounds)
    samples = resampled_length(longest, model.sample_rate, rate)
    output = Sound(samples, rate, channels, sounds[0].container)
    if not is_folder:
        count = steps ** (len(sources) // 2)
        output = output._replace(samples=resampled_length(longest * count, model.sample_rate, rate))
    output = streams.checked(name, output)
    rows = channels if model.channels == 1 else 1
    corners = [
        _with_rows(reconstruct.encode(model, source, sound.channels, longest), rows)
        for source, sound in zip(sources, sounds, strict=True)
    ]
    mixed = _mixed(model, corners, steps)
    if not is_folder:
        chunks = (
            streams.exactly(reconstruct.decoded(model, encoded, channels), longest, channels)
            for encoded in mixed
        )
        most = np.max([corner.highest_ceilings for corner in corners], axis=0)
        return reconstruct.write(chain.from_iterable(chunks), model, output, target, most)
    messages = []
    with files.atomic_folder(target) as folder:
        for index, encoded in enumerate(mixed):
            down, right = divmod(index, steps)
            name = f"{right + 1}" if len(corners) == 2 else f"{down + 1}_{right + 1}"
            audio = reconstruct.decoded(model, encoded, channels)
            file = folder / f"{name}{_STEP_SUFFIX}"
            messages.append(reconstruct.write(audio, model, output, file, encoded.highest_ceilings))
    return "; ".join(line for line in messages if line)


def _with_rows(encoded: Encoded, rows: int) -> Encoded:
    """A mono sound repeated to ``rows`` channels."""
    return Encoded(*(np.broadcast_to(array, (rows, *array.shape[1:])) for array in encoded))


def _mixed(model: TrainedModel, corners: Sequence[Encoded], steps: int) -> list[Encoded]:
    """The interpolated sounds, step by step."""
    latents, ceilings = (np.stack(arrays) for arrays in zip(*corners, strict=True))
    # Frames that are silent in all corners stay silent.
    silent = np.expand_dims(model.is_silent(latents).all(axis=0), -1)
    return [
        Encoded(
            np.where(silent, model.silence, np.tensordot(weight, latents, 1)),
            np.tensordot(weight, ceilings, 1),
        )
        for weight in weights(steps, len(corners))
    ]
