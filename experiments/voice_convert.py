"""One encoder, and a decoder that is told who speaks, so that the latents can do without.

python -m aejax.main --config=experiments/voice_convert.py --config.data.path=DIR

TODO minutes dB
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "voice_convert"
    config.data.excerpt_seconds = 1.0
    config.model.downsampling = 4
    config.model.latent_dim = 8  # too few for who speaks, beside what is said
    config.model.pca_start = False
    config.model.speaker_label = "folder"
    # What is seen is of another throat and through another microphone each time, and what is to be
    # given back is not: only the label says whose voice that is.
    config.augment.seen_stretch = (0.75, 1.33)
    config.augment.seen_eq_db = 6.0
    config.augment.speed = (1.0, 1.0)
    config.augment.mix_probability = 0.0
    config.train.batch_size = 32
    config.train.steps = 2000
    return config
