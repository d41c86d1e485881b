"""Denoising: a log-mel autoencoder whose output masks the noisy audio.

python -m aejax.main --config=experiments/mel_denoise.py --config.data.path=SPEECH \
    --config.augment.noise.kind=folder --config.augment.noise.path=NOISES

Noise is added to each excerpt in the compiled step; the target is the clean excerpt. The model is
initialised from the linear map from noisy to clean blocks. Its output attenuates each bin of the
noisy spectrogram, and the resulting audio is compared with the clean audio too. Apply a run with
``aejax denoise RUN noisy.wav clean.wav``.

Takes about 15 CPU-minutes; docs/results.md has its gain in dB.
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
