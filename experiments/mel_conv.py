"""A convolutional autoencoder of log-mel spectrograms, beginning at PCA.

python -m aejax.main --config=experiments/mel_conv.py
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "mel_conv"
    return config
