"""An LSTM over raw samples, with back-propagation cut every 256 samples.

python -m aejax.main --config=experiments/wave_lstm.py

What raw audio costs: 16,000 steps of a recurrent network for a second of sound, where mel_lstm
takes 63. Not from PCA, which a recurrent encoder over samples has no place for.

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
