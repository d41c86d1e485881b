"""A convolutional autoencoder of log-magnitude spectrograms, beginning at PCA.

python -m aejax.main --config=experiments/stft_conv.py

As mel_conv, on 513 bins a frame instead of 80: compare the error of the audio, which is measured
by the same log-mel spectrogram for every representation.
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "stft_conv"
    config.representation.name = "spectrogram"
    return config
