"""The same network on waveforms, spectrograms and mel spectrograms.

python -m aejax.main --config=experiments/representations.py

All runs of ``sweep()`` have the same number of parameters (to 1 %), latent floats per second and
training time (43 s on two CPU cores). A single run is the one on mel spectrograms, as in mel_conv.

Takes about 2 CPU-minutes and gains 2.6 dB over PCA on the built-in corpus, at 250 latent floats per
second (log-mel RMSE of the audio 3.67 dB, PCA 4.61).
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from aejax.config import default

# Widths for 5.3 million parameters; steps for 43 s, at 41.5, 107.6, 42.3 and 42.9 ms per step.
MEMBERS: dict[str, dict[str, Any]] = {
    "waveform": {"model.conv.width": 341, "train.steps": 1030},
    "waveform_mel": {
        "model.conv.width": 341,
        "train.steps": 400,
        "loss.multi_scale_mel.weight": 0.1,
    },
    "spectrogram": {"model.conv.width": 287, "train.steps": 1010},
    "mel": {"model.conv.width": 384, "train.steps": 1000},
}


def get_config() -> ConfigDict:
    config = default()
    config.name = "representations"
    return config


def sweep() -> Iterator[dict[str, Any]]:
    for name, keys in MEMBERS.items():
        keys = {"representation.name": name.split("_")[0], **keys}
        yield {"name": f"representations_{name}", **keys}
