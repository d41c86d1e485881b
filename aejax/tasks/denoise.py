"""Audio files without their noise."""

from pathlib import Path

from aejax.data import streams
from aejax.tasks.reconstruct import encode, in_channels, like, reader, samples_of, write
from aejax.trained import TrainedModel


def denoise(model: TrainedModel, source: Path, target: Path) -> str:
    """Writes a file without its noise: as long, at the same rate, with as many channels.

    What is left of a file is what was in it at the model's rate, made softer where the model hears
    noise: phases are those of the file.

    Args, returns, raises: as `aejax.tasks.reconstruct.reconstruct`.
    """
    sound = like(source, target.name)
    samples = samples_of(sound, model.sample_rate)
    encoded = encode(model, source, sound.channels, samples)
    with streams.reading(source, model.sample_rate) as file:
        clean = model.mask_stream(encoded, reader(model, file))
        audio = in_channels(model, clean, sound.channels)
        return write(audio, model, sound, target, encoded.most)
