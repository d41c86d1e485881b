"""PCA, shallow, deep, recurrent and variational autoencoders of magnitude spectra, frame by frame.

python -m aejax.main --config=experiments/roche2018.py

The comparison of Roche et al., "Autoencoders for music sound modeling: a comparison of linear,
shallow, deep, recurrent and variational models" (arXiv 1806.04096), on any corpus: one latent
vector per frame, no context except in the LSTM, random initialisation, no augmentation. Every run
has a row for PCA; ``sweep()`` has the other models at all sizes. A single run is the shallow model.

Takes about 0.6 CPU-minutes; on the built-in corpus it is 0.36 dB behind PCA, at 500 latent floats
per second (log-mel RMSE of the audio 9.45 dB, PCA 9.27).
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from aejax.config import default

DEEP = {
    "model.bottleneck": "none",
    "model.encoder": "mlp",
    "model.mlp.width": 256,
    "model.mlp.depth": 2,
    "model.mlp.dropout": 0.0,
}
LATENTS = (4, 8, 12, 16, 32, 64, 100)
MODELS: dict[str, dict[str, Any]] = {
    "shallow": {},
    "deep": DEEP,
    "lstm": {
        "model.bottleneck": "none",
        "model.encoder": "lstm",
        "model.lstm.width": 256,
        "model.lstm.depth": 1,
        "model.lstm.dropout": 0.0,
    },
    "vae": DEEP | {"model.bottleneck": "vae"},
}


def get_config() -> ConfigDict:
    config = default()
    config.name = "roche2018"
    config.data.excerpt_seconds = 1.0
    config.representation.name = "spectrogram"
    config.representation.spectrogram.hop_length = 512
    # The shallow model: dense, tanh, dense. At best it equals PCA.
    config.model.encoder = "linear"
    config.model.bottleneck = "tanh"
    config.model.downsampling = 1
    config.model.latent_dim = 16
    config.model.pca_start = False
    config.train.batch_size = 32
    config.train.steps = 3000
    config.train.validate_every = 500
    config.train.weight_decay = 0.0
    config.augment.speed.range = (1.0, 1.0)
    config.augment.mix.probability = 0.0
    config.augment.eq.db = 0.0
    config.augment.gain.db = 0.0
    return config


def sweep() -> Iterator[dict[str, Any]]:
    for kind, keys in MODELS.items():
        for latents in LATENTS:
            yield {"name": f"roche2018_{kind}_{latents}", "model.latent_dim": latents, **keys}
