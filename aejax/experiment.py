"""One experiment, from config to results."""

import dataclasses
import functools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from aejax import config as config_module
from aejax import representation as representations
from aejax.data import corpus as corpora
from aejax.data import loader
from aejax.data.synthetic import SyntheticCorpus
from aejax.evaluation import metrics
from aejax.evaluation.evaluate import (
    Codec,
    Evaluator,
    Reconstruct,
    Row,
    autoencode,
    identity,
    with_gains,
)
from aejax.listening import write_listening
from aejax.models import autoencoder
from aejax.reporting.table import results_table
from aejax.representation import Representation
from aejax.training import checkpoint, loop, metrics_log, pca_fit, state
from aejax.training.augmentation import Augmentation
from aejax.training.devices import Devices
from aejax.training.step import TrainStep, make_train_step
from aejax.workdir import Workdir

REPRESENTATION_ONLY, PCA = "representation only", "pca"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a config stands for, before anything is fitted.

    Attributes:
      config: valid.
      workdir: of the run.
      devices: it runs on.
      corpus: it runs on.
      representation: of its audio.
      excerpt: samples of a training excerpt: whole blocks of frames, exactly.
    """

    config: ConfigDict
    workdir: Workdir
    devices: Devices
    corpus: corpora.Corpus
    representation: Representation
    excerpt: int

    @property
    def downsampling(self) -> int:
        """Frames in a block."""
        return self.config.model.downsampling

    def batches(self, split: str) -> loader.Batches:
        """All of a split, in order."""
        return loader.consecutive_batches(
            self.corpus, split, excerpt=self.excerpt, batch_size=self.config.train.batch_size
        )


def run(config: ConfigDict, path: Path) -> list[Row]:
    """Trains, measures, and writes and prints the results; goes on where a killed run stopped.

    Args:
      config: of the experiment, all of it (see `aejax.config.default`).
      path: of the run's directory.

    Returns:
      The rows of the results table.

    Raises:
      UserError: before anything is written, if it is the config, the corpus or the directory.
    """
    config_module.validate(config)
    workdir = Workdir(path, config)
    finished = workdir.read_json("results.json")
    if finished is not None:
        print(f"this run is finished; its results again:\n\n{results_table(finished['rows'])}\n")
        _print_outputs(workdir)
        return [Row(**row) for row in finished["rows"]]
    experiment = prepare(config, workdir)
    fitted = fit_pca(experiment)
    model = autoencoder.from_config(config.model, experiment.representation.bins)
    evaluator = Evaluator(
        representation=experiment.representation,
        downsampling=experiment.downsampling,
        centre=experiment.devices.copy(jnp.asarray(fitted.mean, jnp.float32)),
        place=experiment.devices.place,
    )
    # One function object, so that what is compiled for it is compiled once.
    reconstruct = functools.partial(autoencoder.reconstruct, model)
    best = train(experiment, model, reconstruct, fitted, evaluator)
    rows = evaluate(experiment, codecs(experiment, reconstruct, best, fitted), evaluator)
    write_results(experiment, rows, best)
    print(f"\n{results_table([dataclasses.asdict(row) for row in rows])}\n")
    _print_outputs(workdir)
    return rows


def prepare(config: ConfigDict, workdir: Workdir) -> Experiment:
    """Finds the devices and the corpus, prints them, and makes the run's directory."""
    representation = representations.from_config(config)
    devices = Devices(config.train.batch_size)
    print(f"device: {devices}")
    corpus, scanned = _corpus(config, workdir.read_json("corpus.json"))
    downsampling = config.model.downsampling
    blocks = config.data.excerpt_seconds * representation.frame_rate / downsampling
    excerpt = representation.samples(max(1, round(blocks)) * downsampling)
    corpora.check_splits(corpus, excerpt)
    print(corpora.summary(corpus))
    workdir.create()
    workdir.write_text("corpus.json", corpora.to_json(corpus, scanned))
    return Experiment(config, workdir, devices, corpus, representation, excerpt)


def _corpus(config: ConfigDict, earlier: Any) -> tuple[corpora.Corpus, dict[str, Any]]:
    data = config.data
    fractions = {
        "validation_fraction": data.validation_fraction,
        "test_fraction": data.test_fraction,
    }
    if not data.path:
        synthetic = SyntheticCorpus(
            clips=data.synthetic.clips,
            seconds=data.synthetic.seconds,
            seed=config.seed,
            sample_rate=data.sample_rate,
            **fractions,
        )
        return synthetic, {}
    return corpora.scan(
        Path(data.path),
        sample_rate=data.sample_rate,
        channels=data.channels,
        split_by=data.split_by,
        include=data.include,
        cache_bytes=int(data.cache_megabytes * 1e6),
        known=(earlier or {}).get("scanned"),
        progress=lambda items, total: _bar(items, total=total, desc="reading files", unit="file"),
        **fractions,
    )


def _bar(items: Any = None, **options: Any) -> tqdm:
    """A progress bar on a terminal or in a log, gone when it is done."""
    every = 0.1 if sys.stderr.isatty() else 10
    return tqdm(items, leave=False, mininterval=every, dynamic_ncols=True, **options)


def fit_pca(experiment: Experiment) -> pca_fit.Fit:
    """PCA of the training split; an earlier fit of the same run is read instead."""
    path = experiment.workdir.path / "pca.npz"
    if not path.exists():
        batches = experiment.batches("train")
        fitted = pca_fit.fit(
            _bar(batches, desc="fitting PCA", unit="batch"),
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
        return {
            "validation/log_mel_rmse_db": rmse,
            "validation/gain_over_pca_db": metrics.gain_db(rmse, pca_rmse_db),
        }

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
            speeds=config.data.speeds,
            start=first,
        )
        with (
            metrics_log.MetricsLog(workdir.path, after=first if first else -1) as log,
            _bar(total=config.train.steps, initial=first, desc="training", unit="step") as bar,
        ):

            def progress(_: int, scalars: dict[str, float]) -> None:
                bar.set_postfix(loss=f"{scalars['loss/total']:.4f}", refresh=False)
                bar.update()

            return loop.train(
                snapshot,
                step,
                batches,
                schedule=loop.Schedule(
                    config.train.steps, config.train.validate_every, config.train.log_every
                ),
                place=devices.place,
                validate=validate,
                checkpoints=checkpoints,
                log=log,
                progress=progress,
                name_clips=lambda clips: ", ".join(
                    sorted({experiment.corpus.clips[clip].name for clip in clips})
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


def compile_step(
    experiment: Experiment,
    model: autoencoder.Autoencoder,
    tx: Any,
    train_state: state.TrainState,
) -> TrainStep:
    """Compiles the train step for this state and says how long it took."""
    options, devices = experiment.config.train, experiment.devices
    example = {
        "audio": np.zeros((options.batch_size, experiment.excerpt), np.float32),
        "length": np.zeros(options.batch_size, np.int32),
    }
    step = jax.jit(
        make_train_step(
            experiment.representation,
            model,
            tx,
            downsampling=experiment.downsampling,
            augmentation=Augmentation(options.gain_db, options.filter_db, options.mix_probability),
        ),
        donate_argnums=0,
        out_shardings=devices.copied,
    )
    begin = time.perf_counter()
    compiled = step.lower(train_state, devices.place(example)).compile()
    size = sum(x.size for x in jax.tree.leaves(train_state.params))
    print(f"compiled the step in {time.perf_counter() - begin:.1f} s; {size:,} parameters")
    return compiled


def codecs(
    experiment: Experiment,
    reconstruct: Reconstruct,
    best: checkpoint.Snapshot,
    fitted: pca_fit.Fit,
) -> list[Codec]:
    """What is compared, in the order of the table."""
    rate = metrics.latent_floats_per_second(
        experiment.representation.frame_rate,
        experiment.downsampling,
        experiment.config.model.latent_dim,
    )
    variables = {"params": best.best_params, "constants": best.state.constants}
    return [
        Codec(REPRESENTATION_ONLY, identity, None, None),
        Codec(PCA, autoencode, experiment.devices.copy(fitted.pca), rate),
        Codec(experiment.config.name, reconstruct, variables, rate),
    ]


def evaluate(
    experiment: Experiment, candidates: Sequence[Codec], evaluator: Evaluator
) -> list[Row]:
    """The results table, measured on the test split; writes what there is to hear and see."""
    batches = experiment.batches("test")
    rows = []
    for codec in candidates:
        rows.append(evaluator.row(codec, _bar(batches, desc=f"testing {codec.name}", unit="batch")))
    lines = metrics_log.read(experiment.workdir.path / "metrics.jsonl")
    name = "validation/log_mel_rmse_db"
    write_listening(
        experiment.workdir.path,
        corpus=experiment.corpus,
        representation=experiment.representation,
        downsampling=experiment.downsampling,
        codecs=candidates,
        count=experiment.config.evaluate.listen_clips,
        floor_db=experiment.config.representation.floor_db,
        validation=[(int(line["step"]), line[name]) for line in lines if name in line],
    )
    return with_gains(rows, PCA)


def write_results(experiment: Experiment, rows: Sequence[Row], best: checkpoint.Snapshot) -> None:
    """Writes ``results.json``, last of all: where it is, the run is finished."""
    results = {
        "rows": [dataclasses.asdict(row) for row in rows],
        "units": {
            "latent_floats_per_second": "1/s",
            "log_mel_rmse_db": "dB",
            "audio_log_mel_rmse_db": "dB",
            "explained_variance": "1",
            "gain_over_pca_db": "dB",
        },
        "best_step": int(best.best_step),
        "validation_log_mel_rmse_db": float(best.best_rmse_db),
        "test_clips": sum(clip.split == "test" for clip in experiment.corpus.clips),
        "device": str(experiment.devices),
    }
    experiment.workdir.write_text("results.json", json.dumps(results, indent=2) + "\n")


def _print_outputs(workdir: Workdir) -> None:
    path = workdir.path
    print(f"results: {path / 'results.json'}")
    print(f"picture: {path / 'report.png'}")
    print(f"audio:   {path / 'audio'}/")
    print(f"curves:  {path / 'metrics.jsonl'}, or: tensorboard --logdir={path}")
