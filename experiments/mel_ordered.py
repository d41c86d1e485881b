"""Latents sorted by importance: one model for every size from 1 to 64 latents.

python -m aejax.main --config=experiments/mel_ordered.py

Nested dropout is an objective of its own, the mean error over all sizes: do not expect it to equal
mel_conv trained for one size. The table has it, and PCA, at each of its sizes.

Takes about 3 CPU-minutes; on the built-in corpus it is 1.06 dB behind PCA, at 500 latent floats per
second (log-mel RMSE of the audio 3.40 dB, PCA 3.21).
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "mel_ordered"
    config.model.bottleneck = "ordered"
    config.model.latent_dim = 64
    config.evaluate.nested_sizes = (1, 2, 4, 8, 16, 32)
    return config
