"""Fitting an experiment's PCA and training its model."""

import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from aejax.bars import bar
from aejax.data import loader
from aejax.evaluation import metrics
from aejax.evaluation.evaluate import Evaluator, Reconstruct, autoencode
from aejax.models import autoencoder
from aejax.prepare import Experiment
from aejax.training import checkpoint, loop, metrics_log, pca_fit, state
from aejax.training.augmentation import Augmentation
from aejax.training.step import TrainStep, make_train_step


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


def train(
    experiment: Experiment,
    model: autoencoder.Autoencoder,
    reconstruct: Reconstruct,
    fitted: pca_fit.Fit,
    evaluator: Evaluator,
) -> checkpoint.Snapshot:
    """Trains to the last step, from the newest checkpoint if there is one."""
    config, devices, workdir = experiment.config, experiment.devices, experiment.workdir
    tx = state.optimiser(config.train)
    begin = initial_state(config, model, fitted, tx)
    pca_rmse_db = evaluator.features_rmse_db(
        autoencode, devices.copy(fitted.pca), experiment.batches("validation")
    )

    def validate(variables: autoencoder.Variables) -> dict[str, float]:
        rmse = evaluator.features_rmse_db(reconstruct, variables, experiment.batches("validation"))
        scalars = {
            "validation/log_mel_rmse_db": rmse,
            "validation/pca_log_mel_rmse_db": pca_rmse_db,
        }
        gain = metrics.gain_db(rmse, pca_rmse_db)
        return scalars if gain is None else scalars | {"validation/gain_over_pca_db": gain}

    with checkpoint.opened(workdir.path / "checkpoints") as checkpoints:
        snapshot = loop.first_snapshot(begin)
        if checkpoints.latest_step is None:
            snapshot = devices.copy(snapshot)
        else:
            snapshot = checkpoints.restore(snapshot, devices.copied)
            print(f"going on from step {int(snapshot.state.step)}")
        first = int(snapshot.state.step)
        step = compile_step(experiment, model, tx, snapshot.state)
        batches = loader.train_batches(
            experiment.corpus,
            excerpt=experiment.excerpt,
            batch_size=config.train.batch_size,
            seed=config.seed,
            start=first,
            drawing=loader.Drawing(
                augmentation(config).span(experiment.excerpt),
                equal=config.data.weighting == "equal",
                silence_db=config.data.silence_db,
                redraws=config.data.silence_redraws,
            ),
            noise=experiment.noise,
            workers=experiment.workers,
        )
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


def initial_state(
    config: ConfigDict, model: autoencoder.Autoencoder, fitted: pca_fit.Fit, tx: Any
) -> state.TrainState:
    """The state before the first step: at PCA, if the config says so."""
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    variables = autoencoder.init(model, init_key, config.model.downsampling)
    variables = autoencoder.standardise(variables, fitted.mean, fitted.scale)
    if config.model.pca_start:
        variables = autoencoder.start_at_pca(variables, fitted.pca)
    return state.create(variables, tx, step_key)


def augmentation(config: ConfigDict) -> Augmentation:
    """What ``config.augment`` stands for."""
    keys: dict[str, Any] = config.augment.to_dict()
    del keys["noise_path"]
    for pair in ("speed", "noise_snr_db"):
        keys[pair] = tuple(keys[pair])
    return Augmentation(**keys)


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
            samples=experiment.excerpt,
            downsampling=experiment.downsampling,
            augmentation=amount,
        ),
        donate_argnums=0,
        out_shardings=devices.copied,
    )
    begin = time.perf_counter()
    compiled = step.lower(train_state, devices.place(example)).compile()
    size = sum(x.size for x in jax.tree.leaves(train_state.params))
    print(f"compiled the step in {time.perf_counter() - begin:.1f} s; {size:,} parameters")
    return compiled
