"""Models with random variables, as objects and as the directories of finished runs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from conftest import shrink

from aejax import config as config_module
from aejax import objective, representations
from aejax.inference.model import TrainedModel
from aejax.models import autoencoder
from aejax.models.pca import PCA
from aejax.prepare import SPEAKERS
from aejax.training import checkpoint, pca_fit, state
from aejax.workdir import Workdir


def model_of(representation="mel", encoder="conv", *, most_samples=2**18, speakers=(), **changes):
    """As large in its nonlinear part as in its linear one."""
    config = config_module.default()
    config.representation.name = representation
    config.model.encoder = encoder
    if encoder == "wave_conv":
        config.representation.waveform.hop_length = 64
        config.model.wave_conv.strides = (4, 4, 32)
    if representation == "waveform":
        config.model.pca_start = False
    config = shrink(config)
    config.train.steps = 0
    return model_of_config(config_module.override(config, changes), most_samples, speakers)


def small_model(**changes):
    """One that tests of whole commands load and run quickly."""
    sizes = {"model.mlp.width": 8, "model.latent_dim": 4}
    return model_of("complex_spectrogram", "mlp", **sizes | changes)


def model_of_config(config, most_samples=2**18, speakers=()):
    """The same for a config that is small already."""
    config_module.validate(config)
    representation = representations.from_config(config)
    model = autoencoder.from_config(config.model, representation.bins, speakers=len(speakers))
    variables = autoencoder.init(model, jax.random.key(0), config.model.downsampling)
    rng = np.random.default_rng(0)

    def draw(leaf):
        scale = 0.3 / np.sqrt(leaf.shape[-2]) if leaf.ndim > 1 else 0.1
        return jnp.asarray(leaf + scale * rng.standard_normal(leaf.shape), jnp.float32)

    variables = {**variables, "params": jax.tree.map(draw, variables["params"])}
    if representation.unit == "dB":
        mean, scale = np.full(representation.bins, -30), np.asarray(20)
        variables = autoencoder.with_statistics(variables, mean, scale)
    return TrainedModel(config, representation, model, variables, speakers, most_samples)


def write_run(path, model):
    """The directory that a run of that model leaves, as far as it is needed to load it."""
    config = model.config
    Workdir(path, config).create()
    Workdir(path, config).write_config()
    if model.speakers:
        (path / SPEAKERS).write_text(json.dumps(model.speakers))
    tx = state.make_optimizer(config.train, pca_start=config.model.pca_start)
    weights = objective.from_config(config, model.representation).weights
    key = jax.random.key(0)
    with checkpoint.opened(path / "checkpoints") as checkpoints:
        checkpoints.save(checkpoint.snapshot_of(state.create(model.variables, tx, key, weights)))
    rng, latents = np.random.default_rng(0), config.model.latent_dim
    block = config.model.downsampling * model.representation.bins
    components = np.linalg.qr(rng.standard_normal((block, latents)))[0].T
    mean = np.full(block, -30.0)
    bins = mean[: model.representation.bins]
    limits = model.representation.limits()
    own = (jnp.asarray(x, jnp.float32) for x in (mean, components, np.ones(latents)))
    pca = PCA(*own, *limits, config.model.downsampling)
    pca_fit.save(path / "pca.npz", pca_fit.Fit(pca, bins, np.asarray(20.0)))
    return path
