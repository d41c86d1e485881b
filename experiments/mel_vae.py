"""A variational autoencoder of log-mel spectrograms, beginning at PCA.

python -m aejax.main --config=experiments/mel_vae.py

It pays for what its latents say: the weight of the KL divergence, model.vae.kl_weight, trades the
error against latents that can be drawn at random. Compare with mel_conv, which is the same without.
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "mel_vae"
    config.model.bottleneck = "vae"
    return config
