"""Voice conversion of audio files."""

from pathlib import Path

from aejax.inference.model import TrainedModel
from aejax.inference.reconstruct import decoded, encode, output_sound, samples_of, write

# Comment in the metadata of each file.
SYNTHETIC = "synthetic speech: made by aejax convert in the voice of {speaker}"


def convert(model: TrainedModel, source: Path, target: Path, speaker: str) -> str:
    """Converts the speech of a file to the voice of a speaker of the model.

    Length, sample rate and channels stay the same. The metadata of the output says that it is
    synthetic.

    Args, returns, raises: as `aejax.inference.reconstruct.reconstruct`.
    """
    sound = output_sound(source, target.name)
    encoded = encode(model, source, sound.channels, samples_of(sound, model.sample_rate))
    audio = decoded(model, encoded, sound.channels, speaker)
    note = SYNTHETIC.format(speaker=speaker)
    return write(audio, model, sound, target, encoded.highest_ceilings, note)
