"""Sound without its noise: a mask for what is heard, by way of a log-mel autoencoder.

python -m aejax.main --config=experiments/mel_denoise.py --config.data.path=SPEECH \
    --config.augment.noise.kind=folder --config.augment.noise.path=NOISES

Noise is mixed into each excerpt in the compiled step, and what is to be given back is the excerpt
without. The model begins at the PCA of clean sound; its log-mel spectrogram makes each bin of the
noisy one softer, and the result is compared with the clean sound too.
``aejax denoise RUN noisy.wav clean.wav``.

Takes about 15 CPU-minutes; how many dB it gains is in docs/results.md.
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "mel_denoise"
    config.representation.mel.n_fft = 512
    config.representation.mel.hop_length = 128
    config.model.downsampling = 4
    config.model.latent_dim = 64
    config.model.conv.depth = 6
    config.augment.noise.kind = "pink"
    config.augment.noise.probability = 1.0
    config.augment.noise.snr_db = (-5.0, 15.0)
    config.task = "denoise"
    config.augment.mix.probability = 0.0
    config.loss.si_sdr.weight = 0.05
    config.train.steps = 2500
    return config
