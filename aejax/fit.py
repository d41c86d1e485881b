"""Fitting an experiment's PCA and training its model."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from aejax.bars import bar
from aejax.data import loader
from aejax.evaluation import metrics
from aejax.models import autoencoder
from aejax.models.pca import PCA, ContextPCA
from aejax.models.vector_quantizer import start_codebooks
from aejax.prepare import Experiment
from aejax.representation import valid_frames
from aejax.training import checkpoint, loop, metrics_log, pca_fit, state, validation
from aejax.training.augmentation import Augmentation
from aejax.training.losses import Objective
from aejax.training.step import TrainStep, make_train_step
from aejax.training.validation import make_eval_step


def fit_pca(experiment: Experiment) -> pca_fit.Fit:
    """PCA of the training split; an earlier fit of the same run is read instead."""
    path = experiment.workdir.path / "pca.npz"
    if not path.exists():
        batches = experiment.batches("train")
        fitted = pca_fit.fit(
            bar(batches, desc="fitting PCA", unit="batch"),
            representation=experiment.representation,
            downsampling=experiment.downsampling,
            latent_dim=experiment.config.model.latent_dim,
            place=experiment.devices.place,
        )
        pca_fit.save(path, fitted)
    return pca_fit.load(path)


def fit_context(experiment: Experiment, pca: PCA) -> ContextPCA | None:
    """The best linear decoder of PCA's latents from as many of them as the model's decoder sees;
    None where it sees one at a time."""
    before, after = decoder_reach(experiment.config.model)
    if before == after == 0:
        return None
    path = experiment.workdir.path / "pca_context.npz"
    if not path.exists():
        fitted = pca_fit.fit_context(
            bar(experiment.batches("train"), desc="fitting PCA in context", unit="batch"),
            experiment.batches("validation"),
            pca,
            representation=experiment.representation,
            before=before,
            after=after,
            place=experiment.devices.place,
        )
        pca_fit.save_context(path, fitted)
    return pca_fit.load_context(path, pca)


# Latent frames on either side that the linear decoder in context sees at most: those farther away
# add less than they cost to find, and some models see all there are.
_FARTHEST = 4


def decoder_reach(config: ConfigDict) -> tuple[int, int]:
    """Latent frames before and after its own that a decoder sees, at most `_FARTHEST`."""
    if config.encoder in ("linear", "mlp"):
        return 0, 0
    if config.encoder in ("lstm", "gru"):
        return _FARTHEST, 0
    if config.encoder == "conv":
        depth, around = autoencoder.decoder_of(config).depth, config.kernel_size - 1
        before = config.kernel_size // 2
        return min(depth * before, _FARTHEST), min(depth * (around - before), _FARTHEST)
    return _FARTHEST, _FARTHEST


def train(
    experiment: Experiment,
    model: autoencoder.Autoencoder,
    fitted: pca_fit.Fit,
    pca_rmse: float,
) -> checkpoint.Snapshot:
    """Trains to the last step, from the newest checkpoint if there is one.

    Args:
      experiment: what to train on.
      model: what to train.
      fitted: on the training split.
      pca_rmse: of PCA on the validation split, to be logged beside the model's.
    """
    config, devices, workdir = experiment.config, experiment.devices, experiment.workdir
    tx = state.optimiser(config.train, pca_start=config.model.pca_start)
    begin = initial_state(experiment, model, fitted, tx)
    learnt_from = objective(experiment)
    eval_step = jax.jit(
        make_eval_step(
            experiment.representation, model, learnt_from, downsampling=experiment.downsampling
        )
    )
    weights = validation.final_weights(learnt_from, model)

    def validate(train_state: state.TrainState) -> tuple[dict[str, float], dict[str, float]]:
        scalars, losses = {"validation/pca_feature_rmse": pca_rmse}, {}
        for name, variables in train_state.candidates.items():
            found = validation.validate(
                eval_step, variables, experiment.batches("validation"), devices.place, weights
            )
            room = "validation" if name == "raw" else f"validation_{name}"
            scalars |= {f"{room}/loss": found.loss, f"{room}/feature_rmse": found.feature_rmse}
            if len(found.terms) > 1:
                scalars |= {f"{room}/loss/{term}": value for term, value in found.terms.items()}
            gain = metrics.gain_db(found.feature_rmse, pca_rmse)
            if gain is not None:
                scalars[f"{room}/gain_over_pca_db"] = gain
            losses[name] = found.loss
            if name == "raw" and int(train_state.step):
                bottleneck = model.bottleneck
                for line in validation.collapsed(
                    found, config.model.bottleneck, bottleneck.codebook_sizes
                ):
                    experiment.warn_once(line)
        return scalars, losses

    with checkpoint.opened(workdir.path / "checkpoints") as checkpoints:
        snapshot = loop.first_snapshot(begin)
        if checkpoints.latest_step is None:
            snapshot = devices.copy(snapshot)
        else:
            snapshot = checkpoints.restore(snapshot, devices.copied)
            print(f"going on from step {int(snapshot.state.step)}")
        first = int(snapshot.state.step)
        step = compile_step(experiment, model, tx, snapshot.state)
        batches = train_batches(experiment, first)
        with (
            metrics_log.MetricsLog(workdir.path, after=first if first else -1) as log,
            bar(total=config.train.steps, initial=first, desc="training", unit="step") as training,
        ):

            def progress(_: int, scalars: dict[str, float]) -> None:
                training.set_postfix(loss=f"{scalars['loss/total']:.4f}", refresh=False)
                training.update()

            return loop.train(
                snapshot,
                step,
                batches,
                schedule=loop.Schedule(
                    config.train.steps, config.train.validate_every, config.train.log_every
                ),
                place=devices.place,
                validate=validate,
                save=checkpoints.save,
                log=log,
                progress=progress,
                name_clips=lambda clips: ", ".join(
                    sorted({experiment.corpus.clips.name(clip) for clip in clips.tolist()})
                ),
            )


def objective(experiment: Experiment) -> Objective:
    """What ``config.loss`` stands for."""
    config = experiment.config
    weights = {name: terms.weight for name, terms in config.loss.items() if terms.weight}
    return Objective(weights, experiment.representation, config.data.sample_rate)


def initial_state(
    experiment: Experiment, model: autoencoder.Autoencoder, fitted: pca_fit.Fit, tx: Any
) -> state.TrainState:
    """The state before the first step: at PCA, if the config says so; codebooks by k-means."""
    config = experiment.config
    init_key, step_key, codebook_key = jax.random.split(jax.random.key(config.seed), 3)
    variables = autoencoder.init(model, init_key, config.model.downsampling)
    variables = autoencoder.standardise(variables, fitted.mean, fitted.scale)
    if config.model.pca_start:
        variables = autoencoder.start_at_pca(model, variables, fitted.pca)
    if "codebooks" in variables:
        latents = first_latents(experiment, model, variables)
        codebooks = start_codebooks(codebook_key, latents, model.bottleneck.codebook_sizes)
        variables = {**variables, "codebooks": {"bottleneck": codebooks}}
    return state.create(variables, tx, step_key, ema=config.train.ema_decay > 0)


# Vectors that k-means sees for each entry of a codebook.
_VECTORS_PER_ENTRY = 20


def first_latents(
    experiment: Experiment, model: autoencoder.Autoencoder, variables: autoencoder.Variables
) -> jax.Array:
    """Latents of random training excerpts before anything is learnt, ``[count, latent_dim]``."""
    wanted = _VECTORS_PER_ENTRY * max(model.bottleneck.codebook_sizes)

    @jax.jit
    def encode(placed: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        features = experiment.representation.analyse(placed["audio"][:, : experiment.excerpt])
        mask = valid_frames(
            experiment.representation,
            jnp.minimum(placed["length"], experiment.excerpt),
            features.shape[1],
            experiment.downsampling,
        )
        latents = autoencoder.before_bottleneck(model, variables, features)
        return latents, mask[:, :: experiment.downsampling]

    found: list[np.ndarray] = []
    for batch in train_batches(experiment, 0):
        latents, mask = jax.device_get(encode(experiment.devices.place(batch)))
        found.append(latents[mask])
        if sum(len(part) for part in found) >= wanted:
            break
    return jnp.concatenate(found)[:wanted]


def train_batches(experiment: Experiment, start: int) -> Iterator[loader.Batch]:
    """Random training excerpts without end, from that step on."""
    config = experiment.config
    return loader.train_batches(
        experiment.corpus,
        excerpt=experiment.excerpt,
        batch_size=config.train.batch_size,
        seed=config.seed,
        start=start,
        drawing=loader.Drawing(
            augmentation(config).span(experiment.excerpt),
            equal=config.data.weighting == "equal",
            silence_db=config.data.silence_db,
            redraws=config.data.silence_redraws,
        ),
        noise=experiment.noise,
        workers=experiment.workers,
    )


def augmentation(config: ConfigDict) -> Augmentation:
    """What ``config.augment`` stands for."""
    keys: dict[str, Any] = config.augment.to_dict()
    del keys["noise_path"]
    for pair in ("speed", "noise_snr_db"):
        keys[pair] = tuple(keys[pair])
    return Augmentation(**keys)


def _memory(compiled: jax.stages.Compiled) -> str:
    """What a step takes, its state and batch included, where the backend knows."""
    found = compiled.memory_analysis()
    if found is None:
        return ""
    return f", {(found.argument_size_in_bytes + found.temp_size_in_bytes) / 1e6:,.0f} MB"


def compile_step(
    experiment: Experiment,
    model: autoencoder.Autoencoder,
    tx: Any,
    train_state: state.TrainState,
) -> TrainStep:
    """Compiles the train step for this state and says how long it took."""
    options, devices = experiment.config.train, experiment.devices
    amount = augmentation(experiment.config)
    span = amount.span(experiment.excerpt)
    audio = np.zeros((options.batch_size, span, *experiment.corpus.channel_shape), np.float32)
    rows = options.batch_size
    example = {
        "audio": audio,
        "length": np.zeros(rows, np.int32),
        "place": np.zeros(rows, np.float32),
    }
    if experiment.noise is not None:
        example["noise"] = audio
    step = jax.jit(
        make_train_step(
            experiment.representation,
            model,
            tx,
            objective(experiment),
            samples=experiment.excerpt,
            downsampling=experiment.downsampling,
            augmentation=amount,
            ema_decay=experiment.config.train.ema_decay,
        ),
        donate_argnums=0,
        out_shardings=devices.copied,
    )
    begin = time.perf_counter()
    compiled = step.lower(train_state, devices.place(example)).compile()
    size = sum(x.size for x in jax.tree.leaves(train_state.params))
    print(
        f"compiled the step in {time.perf_counter() - begin:.1f} s; {size:,} parameters"
        f"{_memory(compiled)}"
    )
    return compiled
