"""Voice conversion: a speaker-conditioned decoder, and latents without the speaker.

python -m aejax.main --config=experiments/voice_convert.py --config.data.path=DIR

DIR has a folder for each speaker. Two things remove the speaker from the latents: the input, unlike
the target, is randomly stretched along frequency and equalised; and an adversary classifies the
speaker by the latents. Apply a run with ``aejax convert RUN in.wav out.wav --to=FOLDER``.

Takes about 11 CPU-minutes; docs/results.md has results. At 500 latent floats/s the feature RMSE
is 1 dB above that of PCA, which preserves the voice.
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "voice_convert"
    config.data.excerpt_seconds = 1.0
    config.model.downsampling = 2
    config.model.latent_dim = 16
    config.model.conv.depth = 6
    config.model.pca_start = False  # PCA would pass the voice through
    config.model.speaker_label = "folder"
    config.model.adversary = 0.04
    config.augment.vtlp.range = (0.75, 1.33)
    config.augment.input_eq.db = 6.0
    config.augment.speed.range = (0.9, 1.1)
    config.augment.mix.probability = 0.0
    config.train.batch_size = 32
    config.train.steps = 4500
    config.train.validate_every = 500
    return config
