"""Sound without its noise: a mask for every bin of what is heard, by way of complex spectrograms.

python -m aejax.main --config=experiments/complex_denoise.py --config.data.path=SPEECH \
    --config.augment.noise=folder --config.augment.noise_path=NOISES

As `mel_denoise`, but for what the model sees and puts out: real and imaginary parts. The encoder
makes each bin softer or louder by what magnitudes around it are. Phases cannot be described in few
numbers, so that there are as many latents as there are numbers in a block: all that is left out is
noise.

Takes about 12 CPU-minutes; how many dB it gains stands in the README.
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "complex_denoise"
    config.representation.name = "complex_spectrogram"
    config.representation.n_fft = 512
    config.model.encoder = "mask"
    config.model.downsampling = 2
    config.model.latent_dim = 1028
    config.model.depth = 6
    config.augment.noise = "pink"
    config.augment.noise_probability = 1.0
    config.augment.noise_snr_db = (-5.0, 15.0)
    config.augment.target = "clean"
    config.augment.mix_probability = 0.0
    config.augment.polarity_probability = 0.5
    config.loss.si_sdr.weight = 0.1
    config.train.steps = 2500
    return config
