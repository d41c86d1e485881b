"""The same network on raw samples, on spectrograms and on mel spectrograms.

python -m aejax.main --config=experiments/representations.py

Encoders of as many parameters (to 1 %), at as many latent floats per second, trained for as many
minutes: ``sweep()`` has all of them. MINUTES
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from aejax.config import default

# Widths for 4.2 million parameters each, and steps for as much time each on two CPU cores.
MEMBERS: dict[str, dict[str, Any]] = {
    "waveform": {"model.width": 376, "train.steps": 1000},
    "waveform_mel": {"model.width": 376, "train.steps": 1000, "loss.multi_scale_mel.weight": 0.1},
    "spectrogram": {"model.width": 368, "train.steps": 1000},
    "mel": {"model.width": 384, "train.steps": 1000},
}


def get_config() -> ConfigDict:
    config = default()
    config.name = "representations"
    return config


def sweep() -> Iterator[dict[str, Any]]:
    for name, keys in MEMBERS.items():
        keys = {"representation.name": name.split("_")[0], **keys}
        yield {"name": f"representations_{name}", **keys}
