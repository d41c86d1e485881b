"""The results of an experiment: evaluates, writes files, prints tables."""

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aejax import config as config_module
from aejax.evaluation import coded_pca, entropy_coding, per_clip_errors
from aejax.evaluation.audio_examples import write_audio_examples
from aejax.evaluation.codecs import PCA_ROW, linear_codecs, no_model_row, pca_row, trained_codecs
from aejax.evaluation.entropy_coding import Statistics
from aejax.evaluation.evaluate import Evaluator, LatentCodec, identity
from aejax.evaluation.latent_map import coding_statistics, latent_map
from aejax.evaluation.per_clip_errors import ClipErrors
from aejax.evaluation.probes import ProbeRow, probe_latents
from aejax.evaluation.rows import Row, with_gains
from aejax.models import autoencoder
from aejax.prepare import Experiment
from aejax.reporting import page, run_files
from aejax.reporting.markup import as_html
from aejax.reporting.table import probes_table, results_table
from aejax.runtime import arrays
from aejax.runtime.errors import printable
from aejax.runtime.progress import bar
from aejax.training.baselines import Baselines
from aejax.training.checkpoint import Best
from aejax.training.loop import Trained

# Results of codecs that several runs share, such as PCA, by codec.
Common = dict[Any, tuple[Row, ClipErrors]]


@dataclasses.dataclass(frozen=True, repr=False)
class Results:
    """Results on the test split; shown as their table, also in a notebook.

    Attributes:
      path: the run's directory.
      rows: rows of the results table.
      errors: errors by clip, for each row by name.
      best: chosen step and validation loss, of raw and averaged variables.
      probes: linear probes of labels, if ``config.evaluate.probes``.
      unit: of features, "1" if they have none.
    """

    path: Path
    rows: list[Row]
    errors: Mapping[str, ClipErrors] = dataclasses.field(default_factory=dict)
    best: Mapping[str, Best] = dataclasses.field(default_factory=dict)
    probes: Sequence[ProbeRow] | None = None
    unit: str = "1"

    def __repr__(self) -> str:
        """The table of results in text."""
        return results_table(self.as_dicts(), self.unit)

    def _repr_html_(self) -> str:
        """The table of results, for a notebook."""
        return as_html(self.as_dicts(), self.unit)

    def as_dicts(self) -> list[dict[str, Any]]:
        """A dict for each row, as in ``results.json``, for ``pandas.DataFrame``."""
        return [dataclasses.asdict(row) for row in self.rows]


def evaluate(
    experiment: Experiment,
    baselines: Baselines,
    trained: Trained,
    common: Common | None = None,
) -> Results:
    """Evaluates PCA and the trained model on the test split; writes ``audio/`` and ``report.npz``.

    Args:
      experiment: to evaluate.
      baselines: its PCA.
      trained: its model.
      common: results shared by runs on the same audio; updated.
    """
    for name, best in trained.best.items():
        print(f"{experiment.workdir.path.name}: {_chosen(name, best)}")
    pca, *others = linear_codecs(experiment, baselines.fit.pca, baselines.context)
    model, *variants = trained_codecs(experiment, trained.model, trained.best)
    no_model = LatentCodec(no_model_row(experiment.config), identity, identity, None, None)
    evaluator = Evaluator.of(experiment, baselines.fit.mean)
    batches, clips = experiment.batches("test", own=True), len(experiment.corpus.clips)

    def measure(codec: LatentCodec) -> tuple[Row, ClipErrors]:
        testing = bar(batches, desc=f"testing {codec.name}", unit="batch")
        return evaluator.row(codec, testing, clips)

    measured: list[tuple[Row, ClipErrors]] = []
    common = {} if common is None else common
    for codec in (no_model, pca, *others):
        key = (codec.name, codec.latent_floats_per_second, codec.encode, codec.decode)
        if key not in common:
            common[key] = measure(codec)
        measured.append(common[key])
    statistics = _save_coding(experiment, pca, model, trained.model)
    coded: list[LatentCodec] = []
    if model.codes is not None:
        sample = experiment.batches("test", most=coded_pca.MOST_WINDOWS)
        coded = coded_pca.coded_pca(evaluator, pca, model, statistics, sample)
    measured += [measure(codec) for codec in (*coded, model, *variants)]
    _write_arrays(experiment, no_model, pca, model)
    probes = probe_latents(experiment, pca, model) if experiment.config.evaluate.probes else None
    references = [PCA_ROW, *(pca_row(count) for count in experiment.config.evaluate.nested_sizes)]
    rows = with_gains(measured, references, evaluator.capacity(model))
    errors = {row.name: clip_errors for row, clip_errors in measured}
    unit = experiment.representation.unit
    return Results(experiment.workdir.path, rows, errors, trained.best, probes, unit)


def _chosen(name: str, best: Best) -> str:
    """A line about the step with the lowest validation loss."""
    suffix, step = "" if name == "raw" else f" ({name})", int(best.step)
    start = ", before training" if step == 0 else ""
    return f"chosen by validation{suffix}: step {step}{start}, loss {float(best.loss):.4g}"


def _save_coding(
    experiment: Experiment, pca: LatentCodec, trained: LatentCodec, model: autoencoder.Autoencoder
) -> Statistics:
    """Writes ``coding.npz``: statistics for entropy coding of the latents of PCA, also returned,
    and of the model. Codebooks need none, since the model's variables have their usage."""
    statistics = {"pca": coding_statistics(experiment, pca)}
    if "codebooks" not in trained.variables:
        bottleneck: Any = model.bottleneck
        shift = bottleneck.bound if bottleneck.codebook_sizes else 0.0
        statistics["model"] = coding_statistics(experiment, trained, shift)
    entropy_coding.save(experiment.workdir.path / entropy_coding.FILE, **statistics)
    return statistics["pca"]


def _write_arrays(
    experiment: Experiment, no_model: LatentCodec, pca: LatentCodec, model: LatentCodec
) -> None:
    """Writes ``audio/``, and ``report.npz`` with spectrograms and the latent map."""
    examples, spectrograms = write_audio_examples(experiment, [no_model, pca, model])
    latents = latent_map(experiment, pca, model)
    clips = [experiment.corpus.clips[index] for index in latents.clips]
    about = {"map_clips": [{"name": clip.name, "labels": clip.labels} for clip in clips]}
    packed = arrays.pack_bytes(latents.snippets)
    content = {
        "latent_means": latents.means,
        "latent_variance": latents.variance[experiment.config.name],
        "pca_variance": latents.variance[PCA_ROW],
        **{f"snippets.{name}": part for name, part in packed.items()},
    }
    path = experiment.workdir.path / run_files.ARRAYS
    arrays.save(path, {**examples, **about}, {**spectrograms, **content})


def write_report(experiment: Experiment, results: Results) -> None:
    """Writes ``clips.jsonl``, ``results.json`` (which marks the run as finished) and
    ``report.html``, in this order."""
    clips = experiment.corpus.clips
    tested = clips.of_split("test")
    without = no_model_row(experiment.config)
    errors = {name: x for name, x in results.errors.items() if name != without}
    lines = per_clip_errors.lines(clips, errors, tested)
    experiment.workdir.write_text(
        "clips.jsonl", "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    )
    probes = None
    if results.probes is not None:
        probes = [dataclasses.asdict(row) for row in results.probes]
    content = {
        "rows": [dataclasses.asdict(row) for row in results.rows],
        "units": {
            "latent_floats_per_second": "1/s",
            "feature_rmse": experiment.representation.unit,
            "audio_log_mel_rmse_db": "dB",
            "si_sdr_db": "dB",
            "explained_variance": "1",
            "bits_per_second": "bit/s",
            "codebook_utilisation": "1",
            "perplexity": "1",
            "bitrate_efficiency": "1",
            "gain_over_pca_db": "dB",
            "audio_gain_over_pca_db": "dB",
            "gain_over_coded_pca_db": "dB",
        },
        "by_label": per_clip_errors.by_label(clips, errors, tested, PCA_ROW),
        "probes": probes,
        "best": {name: best.as_json() for name, best in results.best.items()},
        "test_clips": len(tested),
        "warnings": experiment.warnings,
        "device": str(experiment.devices),
        "command": experiment.command,
        "versions": {name: version(name) for name in ("aejax", "jax", "flax", "numpy")}
        | {"python": platform.python_version()},
        "seed": experiment.config.seed,
    }
    experiment.workdir.write_text(
        "results.json", json.dumps(content, indent=2, allow_nan=False) + "\n"
    )
    write_page(experiment.workdir.path)


def write_page(path: Path) -> None:
    """Writes ``report.html`` of a finished run from the files of the run."""
    defaults = config_module.flatten(config_module.default())
    page.write(path / run_files.REPORT, [path], defaults=defaults)


def print_results(path: Path) -> Results:
    """Prints the tables of a finished run and the paths of its files; returns the results."""
    results = run_files.read_results(path)
    unit = results["units"]["feature_rmse"]
    print(f"\n{results_table(results['rows'], unit, results.get('test_clips'))}\n")
    if results.get("probes") is not None:
        print(f"{probes_table(results['probes'])}\n")
    if not (path / run_files.REPORT).exists():  # the process was killed before it was written
        write_page(path)
    shown = printable(str(path))
    print(f"results: {shown}/results.json")
    print(f"report:  {shown}/{run_files.REPORT}")
    print(f"audio:   {shown}/audio/")
    tensorboard = f", or: tensorboard --logdir={shown}" if any(path.glob("events.*")) else ""
    print(f"curves:  {shown}/metrics.jsonl{tensorboard}")
    return Results(path, [Row.from_json(row) for row in results["rows"]], unit=unit)
