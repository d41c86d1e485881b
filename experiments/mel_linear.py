"""Linear autoencoder, trained from random weights: it should converge to PCA.

python -m aejax.main --config=experiments/mel_linear.py

Takes about 0.8 CPU-minutes; on the built-in corpus it is 0.02 dB behind PCA, at 250 latent floats
per second (log-mel RMSE of the audio 4.61 dB, PCA 4.61). If it beats PCA, the evaluation is
wrong.
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
    # The training data of PCA (no augmentation), and no weight decay.
    config.augment.speed.range = (1.0, 1.0)
    config.augment.mix.probability = 0.0
    config.augment.eq.db = 0.0
    config.augment.gain.db = 0.0
    config.train.weight_decay = 0.0
    return config
