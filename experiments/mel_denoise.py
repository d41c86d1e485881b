"""Sound without its noise: a mask for what is heard, by way of a log-mel autoencoder.

python -m aejax.main --config=experiments/mel_denoise.py --config.data.path=SPEECH \
    --config.augment.noise=folder --config.augment.noise_path=NOISES

Noise is mixed into each excerpt in the compiled step, and what is to be given back is the excerpt
without. The model begins at the PCA of clean sound; its log-mel spectrogram makes each bin of the
noisy one softer, and the result is compared with the clean sound too.
``aejax denoise RUN noisy.wav clean.wav``.

Takes about 15 CPU-minutes; how many dB it gains stands in the README.
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "mel_denoise"
    config.representation.n_fft = 512
    config.representation.hop_length = 128
    config.model.downsampling = 4
    config.model.latent_dim = 64
    config.model.depth = 6
    config.augment.noise = "pink"
    config.augment.noise_probability = 1.0
    config.augment.noise_snr_db = (-5.0, 15.0)
    config.augment.target = "clean"
    config.augment.mix_probability = 0.0
    config.loss.si_sdr.weight = 0.05
    config.train.steps = 2500
    return config
