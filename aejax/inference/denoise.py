"""Denoising of audio files."""

from pathlib import Path

from aejax.data import streams
from aejax.inference.model import TrainedModel
from aejax.inference.reconstruct import encode, in_channels, output_sound, reader, samples_of, write


def denoise(model: TrainedModel, source: Path, target: Path) -> str:
    """Denoises a file; length, sample rate and channels stay the same.

    The output is the file at the model's rate, attenuated where the model detects noise, with the
    phases of the file.

    Args, returns, raises: as `aejax.inference.reconstruct.reconstruct`.
    """
    sound = output_sound(source, target.name)
    samples = samples_of(sound, model.sample_rate)
    encoded = encode(model, source, sound.channels, samples)
    with streams.reading(source, model.sample_rate) as file:
        clean = model.mask_stream(encoded, reader(model, file))
        audio = in_channels(model, clean, sound.channels)
        return write(audio, model, sound, target, encoded.highest_ceilings)
