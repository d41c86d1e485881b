"""Initialisation of the training state, from PCA and k-means."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from aejax.models import autoencoder
from aejax.models.bottlenecks.vector_quantizer import start_codebooks
from aejax.prepare import Experiment
from aejax.representations import analyse_blocks
from aejax.training import checkpoint, pca_fit, state


def first_snapshot(experiment: Experiment, fit: pca_fit.Fit) -> checkpoint.Snapshot:
    """The snapshot of a run before its first step; only the variables are ever whole on a
    device."""
    config, devices = experiment.config, experiment.devices
    optimizer = state.make_optimizer(config.train, pca_start=config.model.pca_start)
    init_key, step_key, codebook_key = jax.random.split(jax.random.key(config.seed), 3)

    def first(variables: autoencoder.Variables) -> checkpoint.Snapshot:
        weights, ema = experiment.objective.weights, config.train.ema_decay > 0
        return checkpoint.snapshot_of(
            state.create(variables, optimizer, step_key, weights, ema=ema)
        )

    variables = devices.put_state(first_variables(experiment, fit, init_key, codebook_key))
    sharding = devices.of_state(jax.eval_shape(first, variables))
    return jax.jit(first, out_shardings=sharding)(variables)


def first_variables(
    experiment: Experiment, fit: pca_fit.Fit, init_key: jax.Array, codebook_key: jax.Array
) -> autoencoder.Variables:
    """The variables before the first step: at PCA with ``pca_start``, codebooks by k-means."""
    config, model = experiment.config, experiment.model
    variables = autoencoder.init(model, init_key, config.model.downsampling)
    variables = autoencoder.with_statistics(variables, fit.mean, fit.scale)
    variables = autoencoder.with_limits(variables, fit.pca.lowest, fit.pca.highest)
    if config.model.pca_start:
        variables = autoencoder.start_at_pca(model, variables, fit.pca)
    if "codebooks" in variables:
        latents = first_latents(experiment, variables)
        codebooks = start_codebooks(codebook_key, latents, model.bottleneck.codebook_sizes)
        variables = {**variables, "codebooks": {"bottleneck": codebooks}}
    return variables


# Vectors for k-means per codebook entry.
_VECTORS_PER_ENTRY = 20


def first_latents(experiment: Experiment, variables: autoencoder.Variables) -> jax.Array:
    """Latents of random training excerpts before training, ``[count, latent_dim]``."""
    model = experiment.model
    count = _VECTORS_PER_ENTRY * max(model.bottleneck.codebook_sizes)

    @jax.jit
    def encode(placed: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        features, _, block_mask = analyse_blocks(
            experiment.representation,
            placed["audio"][:, : experiment.excerpt],
            jnp.minimum(placed["length"], experiment.excerpt),
            experiment.downsampling,
        )
        return autoencoder.before_bottleneck(model, variables, features), block_mask

    vectors: list[np.ndarray] = []
    for batch in experiment.train_batches(0, own=False):
        latents, mask = jax.device_get(encode(experiment.devices.device_put(batch)))
        vectors.append(latents[mask])
        if sum(map(len, vectors)) >= count:
            break
    return jnp.concatenate(vectors)[:count]


def snapshot_shapes(experiment: Experiment) -> checkpoint.Snapshot:
    """The shapes of a run's snapshots, without their arrays."""
    return abstract_snapshot(experiment.config, experiment.model, experiment.objective.weights)


def abstract_snapshot(
    config: ConfigDict, model: autoencoder.Autoencoder, weights: Mapping[str, float]
) -> checkpoint.Snapshot:
    """The shapes of a run's snapshots, from its config, model, and weights of losses by name."""
    tx = state.make_optimizer(config.train, pca_start=config.model.pca_start)

    def first() -> checkpoint.Snapshot:
        key = jax.random.key(0)
        features = jnp.zeros((1, config.model.downsampling, model.bins))
        variables = autoencoder.without_losses(model.init(key, features))
        ema = config.train.ema_decay > 0
        return checkpoint.snapshot_of(state.create(variables, tx, key, weights, ema=ema))

    return jax.eval_shape(first)
