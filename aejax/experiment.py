"""One experiment, from config to results."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
from ml_collections import ConfigDict

from aejax import config as config_module
from aejax.bars import bar
from aejax.evaluation import by_clip, metrics
from aejax.evaluation.by_clip import ClipErrors
from aejax.evaluation.evaluate import (
    Codec,
    Evaluator,
    Reconstruct,
    Row,
    autoencode,
    identity,
    with_gains,
)
from aejax.fit import fit_pca, train
from aejax.listening import write_listening
from aejax.models import autoencoder
from aejax.prepare import Experiment, prepare
from aejax.reporting.table import results_table
from aejax.training import checkpoint, metrics_log, pca_fit
from aejax.workdir import Workdir

REPRESENTATION_ONLY, PCA = "representation only", "pca"


def run(config: ConfigDict, path: Path | None = None) -> list[Row]:
    """Trains, measures, and writes and prints the results; goes on where a killed run stopped.

    Args:
      config: of the experiment, all of it (see `aejax.config.default`).
      path: of the run's directory; ``runs/<config.name>`` by default.

    Returns:
      The rows of the results table.

    Raises:
      UserError: before anything is written, if it is the config, the corpus or the directory.
    """
    config_module.validate(config)
    workdir = Workdir(path or Path("runs", config.name), config)
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
    step, rmse = int(best.best_step), float(best.best_rmse_db)
    start = ", where it began, at PCA" if step == 0 and config.model.pca_start else ""
    print(f"chosen by validation: step {step}{start}, log-mel RMSE {rmse:.3f} dB there")
    rows, errors = evaluate(experiment, codecs(experiment, reconstruct, best, fitted), evaluator)
    write_results(experiment, rows, errors, best)
    print(f"\n{results_table([dataclasses.asdict(row) for row in rows])}\n")
    _print_outputs(workdir)
    return rows


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
) -> tuple[list[Row], dict[str, ClipErrors]]:
    """The results table, measured on the test split, and the errors of each clip by codec; writes
    what there is to hear and see."""
    batches, clips = experiment.batches("test"), len(experiment.corpus.clips)
    rows, errors = [], {}
    for codec in candidates:
        testing = bar(batches, desc=f"testing {codec.name}", unit="batch")
        row, errors[codec.name] = evaluator.row(codec, testing, clips)
        rows.append(row)
    write_listening(
        experiment.workdir.path,
        corpus=experiment.corpus,
        representation=experiment.representation,
        downsampling=experiment.downsampling,
        codecs=candidates,
        count=experiment.config.evaluate.listen_clips,
        floor_db=experiment.config.representation.floor_db,
        curves=_validation_curves(experiment),
    )
    return with_gains(rows, PCA), errors


def _validation_curves(experiment: Experiment) -> dict[str, list[tuple[int, float]]]:
    """(step, log-mel RMSE in dB) on the validation split, of the model and of PCA."""
    lines = metrics_log.read(experiment.workdir.path / "metrics.jsonl")
    names = {
        experiment.config.name: "validation/log_mel_rmse_db",
        PCA: "validation/pca_log_mel_rmse_db",
    }
    return {
        label: [(int(line["step"]), line[name]) for line in lines if name in line]
        for label, name in names.items()
    }


def write_results(
    experiment: Experiment,
    rows: Sequence[Row],
    errors: Mapping[str, ClipErrors],
    best: checkpoint.Snapshot,
) -> None:
    """Writes ``clips.jsonl`` and ``results.json``, that last of all: where it is, the run is
    finished."""
    clips = experiment.corpus.clips
    tested = clips.of_split("test")
    latent = {name: found for name, found in errors.items() if name != REPRESENTATION_ONLY}
    lines = by_clip.lines(clips, latent, tested)
    experiment.workdir.write_text(
        "clips.jsonl", "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    )
    results = {
        "rows": [dataclasses.asdict(row) for row in rows],
        "units": {
            "latent_floats_per_second": "1/s",
            "log_mel_rmse_db": "dB",
            "audio_log_mel_rmse_db": "dB",
            "explained_variance": "1",
            "gain_over_pca_db": "dB",
        },
        "by_label": by_clip.by_label(clips, latent, tested, PCA),
        "best_step": int(best.best_step),
        "validation_log_mel_rmse_db": float(best.best_rmse_db),
        "test_clips": len(tested),
        "device": str(experiment.devices),
    }
    experiment.workdir.write_text(
        "results.json", json.dumps(results, indent=2, allow_nan=False) + "\n"
    )


def _print_outputs(workdir: Workdir) -> None:
    path = workdir.path
    print(f"results: {path / 'results.json'}")
    print(f"picture: {path / 'report.png'}")
    print(f"audio:   {path / 'audio'}/")
    print(f"curves:  {path / 'metrics.jsonl'}, or: tensorboard --logdir={path}")
