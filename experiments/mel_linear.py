"""A purely linear autoencoder, trained from random weights: it should end where PCA already is.

python -m aejax.main --config=experiments/mel_linear.py

Takes 0.7 minutes on two CPU cores and ends 0.2 dB below PCA on the built-in corpus, at 250 latent
floats per second. If it ever beats PCA, the yardstick is wrong.
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "mel_linear"
    config.model.encoder = "linear"
    config.model.pca_start = False
    config.train.steps = 3000
    config.train.learning_rate = 1e-2
    # Training data as PCA has seen them, and nothing that holds the weights back.
    config.augment.speed = (1.0, 1.0)
    config.augment.mix_probability = 0.0
    config.augment.eq_db = 0.0
    config.augment.gain_db = 0.0
    config.train.weight_decay = 0.0
    return config
