"""Strided convolutions on raw samples, as in SEANet and DAC, initialised from PCA.

python -m aejax.main --config=experiments/wave_conv.py

It has snake activations and sub-pixel up-sampling. The loss compares samples and mel spectra.

Takes about 3 CPU-minutes; on the built-in corpus it is 0.18 dB behind PCA, at 2000 latent floats
per second (log-mel RMSE of the audio 10.12 dB, PCA 10.73).
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "wave_conv"
    config.representation.name = "waveform"
    config.representation.waveform.hop_length = 64
    config.model.encoder = "wave_conv"
    config.model.downsampling = 4
    config.model.latent_dim = 32
    config.model.wave_conv.width = 16
    config.model.wave_conv.strides = (4, 8, 8)
    config.loss.multi_scale_mel.weight = 0.1
    config.data.excerpt_seconds = 0.5
    config.train.batch_size = 8
    config.train.steps = 500
    config.augment.polarity.probability = 0.5
    return config
