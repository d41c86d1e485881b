"""What is said in audio files, in another voice."""

from pathlib import Path

from aejax.tasks.reconstruct import decoded, encode, like, samples_of, write
from aejax.trained import TrainedModel

# What the metadata of each file say.
SYNTHETIC = "synthetic speech: made by aejax convert in the voice of {speaker}"


def convert(model: TrainedModel, source: Path, target: Path, speaker: str) -> str:
    """Writes what a file says in the voice of a speaker that the model knows: as long, at the same
    rate, with as many channels. Its metadata says that it is synthetic.

    Args, returns, raises: as `aejax.tasks.reconstruct.reconstruct`.
    """
    sound = like(source, target.name)
    encoded = encode(model, source, sound.channels, samples_of(sound, model.sample_rate))
    back = decoded(model, encoded, sound.channels, speaker)
    note = SYNTHETIC.format(speaker=speaker)
    return write(back, model, sound, target, encoded.most, note)
