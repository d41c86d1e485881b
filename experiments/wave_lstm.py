"""LSTM over raw samples, with back-propagation truncated after 256 samples.

python -m aejax.main --config=experiments/wave_lstm.py

It shows the cost of raw audio: 16,000 recurrent steps per second of sound, against 63 in mel_lstm.
It starts at random, since recurrent encoders on samples cannot be initialised from PCA.

Takes about 1.7 CPU-minutes; on the built-in corpus it is 7.33 dB behind PCA, at 2000 latent floats
per second (log-mel RMSE of the audio 14.81 dB, PCA 10.46).
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "wave_lstm"
    config.data.excerpt_seconds = 0.25
    config.representation.name = "waveform"
    config.representation.waveform.hop_length = 1
    config.model.encoder = "lstm"
    config.model.downsampling = 256
    config.model.lstm.width = 64
    config.model.lstm.depth = 1
    config.model.lstm.truncated_bptt_steps = 256
    config.model.pca_start = False
    config.train.steps = 200
    config.augment.polarity.probability = 0.5
    return config
