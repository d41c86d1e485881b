"""One encoder, and a decoder that is told who speaks, so that the latents can do without.

python -m aejax.main --config=experiments/voice_convert.py --config.data.path=DIR

Each speaker has a folder of its own in DIR. What the model sees is stretched along frequency and
equalised anew each time, what it gives back is not, and an adversary that tells speakers by latents
is to fail: who speaks is left to the decoder. ``aejax convert RUN in.wav out.wav --to=FOLDER``.

Takes about 11 CPU-minutes; what it does is in docs/results.md. At 500 latent floats per second the
error of features is 1 dB above that of PCA, which keeps the voice.
"""

from ml_collections import ConfigDict

from aejax.config import default


def get_config() -> ConfigDict:
    config = default()
    config.name = "voice_convert"
    config.data.excerpt_seconds = 1.0
    config.model.downsampling = 2
    config.model.latent_dim = 16
    config.model.conv.depth = 6
    config.model.pca_start = False  # which would let the voice through
    config.model.speaker_label = "folder"
    config.model.adversary = 0.04
    config.augment.vtlp.range = (0.75, 1.33)
    config.augment.input_eq.db = 6.0
    config.augment.speed.range = (0.9, 1.1)
    config.augment.mix.probability = 0.0
    config.train.batch_size = 32
    config.train.steps = 4500
    config.train.validate_every = 500
    return config
