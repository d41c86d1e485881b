"""Sound without its noise: a mask for every bin of what is heard, by way of complex spectrograms.

python -m aejax.main --config=experiments/complex_denoise.py --config.data.path=SPEECH \
    --config.augment.noise=folder --config.augment.noise_path=NOISES

As `mel_denoise`, but for what the model sees and puts out: real and imaginary parts, of which the
magnitudes are the mask, so that it may choose any phase. It learns from the sound alone, and does
not begin at PCA, which would leave it no room for what is high and soft.

Takes about 14 CPU-minutes; TODO dB.
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "complex_denoise"
    config.representation.name = "complex_spectrogram"
    config.representation.n_fft = 512
    config.representation.hop_length = 128
    config.model.downsampling = 4
    config.model.latent_dim = 256
    config.model.depth = 6
    config.model.pca_start = False
    config.augment.noise = "pink"
    config.augment.noise_probability = 1.0
    config.augment.noise_snr_db = (-5.0, 15.0)
    config.augment.target = "clean"
    config.augment.mix_probability = 0.0
    config.augment.polarity_probability = 0.5
    config.loss.l2.weight = 0.0
    config.loss.si_sdr.weight = 0.05
    config.loss.multi_resolution_stft.weight = 1.0
    config.train.steps = 1800
    return config
