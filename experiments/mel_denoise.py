"""Speech without its noise: a mask for the noisy spectrogram, by way of a log-mel autoencoder."""

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
    config.train.steps = 3000
    return config
