"""What comes of an experiment: measured, written, and as a table."""

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aejax import config as config_module
from aejax.evaluation import entropy_coding, per_clip_errors
from aejax.evaluation.audio_examples import write_audio_examples
from aejax.evaluation.codecs import PCA_ROW, cut_pca, linear_codecs, nothing_row, trained_codecs
from aejax.evaluation.evaluate import Evaluator, LatentCodec, Row, identity, with_gains
from aejax.evaluation.latent_map import coding_statistics, latent_map
from aejax.evaluation.per_clip_errors import ClipErrors
from aejax.evaluation.probes import ProbeRow, probe_latents
from aejax.models import autoencoder
from aejax.prepare import Experiment
from aejax.reporting import page, run_files
from aejax.reporting.table import probes_table, results_table
from aejax.runtime import arrays
from aejax.runtime.errors import plain
from aejax.runtime.progress import bar
from aejax.training.baselines import Baselines
from aejax.training.checkpoint import Best
from aejax.training.loop import Trained

# Rows and errors of clips of codecs that several runs have in common, by codec.
Common = dict[Any, tuple[Row, ClipErrors]]


@dataclasses.dataclass(frozen=True)
class Results:
    """What was measured on the test split.

    Attributes:
      path: of the run's directory.
      rows: of the results table.
      errors: of each clip, by the name of a row.
      best: the chosen step and its validation loss, by kind of variables.
      probes: what latents know of labels, if that was asked for.
    """

    path: Path
    rows: list[Row]
    errors: Mapping[str, ClipErrors] = dataclasses.field(default_factory=dict)
    best: Mapping[str, Best] = dataclasses.field(default_factory=dict)
    probes: Sequence[ProbeRow] | None = None

    def as_dicts(self) -> list[dict[str, Any]]:
        """A dict for each row, as ``results.json`` has it: ``pandas.DataFrame`` takes the list."""
        return [dataclasses.asdict(row) for row in self.rows]


def evaluate(
    experiment: Experiment,
    baselines: Baselines,
    trained: Trained,
    common: Common | None = None,
) -> Results:
    """Measures PCA and the trained model on the test split; writes what there is to hear and see.

    Args:
      experiment: of the run.
      baselines: of it.
      trained: of it.
      common: what was measured for other runs on the same audio, and is added to.
    """
    for name, best in trained.best.items():
        print(f"{experiment.workdir.path.name}: {_chosen(experiment, name, best)}")
    pca, *others = linear_codecs(experiment, baselines.fit.pca, baselines.context)
    model, *variants = trained_codecs(experiment, trained.model, trained.best)
    nothing = LatentCodec(nothing_row(experiment.config), identity, identity, None, None)
    evaluator = Evaluator.of(experiment, baselines.fit.mean)
    batches, clips = experiment.batches("test"), len(experiment.corpus.clips)

    def measure(codec: LatentCodec) -> tuple[Row, ClipErrors]:
        testing = bar(batches, desc=f"testing {codec.name}", unit="batch")
        return evaluator.row(codec, testing, clips)

    measured: dict[str, tuple[Row, ClipErrors]] = {}
    common = {} if common is None else common
    for codec in (nothing, pca, *others):
        key = (codec.name, codec.latent_floats_per_second, codec.encode, codec.decode)
        if key not in common:
            common[key] = measure(codec)
        measured[codec.name] = common[key]
    measured |= {codec.name: measure(codec) for codec in (model, *variants)}
    _write_arrays(experiment, nothing, pca, model)
    _save_coding(experiment, pca, model, trained.model)
    probes = probe_latents(experiment, pca, model) if experiment.config.evaluate.probes else None
    references = [PCA_ROW, *(cut_pca(count) for count in experiment.config.evaluate.cuts)]
    rows = with_gains([row for row, _ in measured.values()], references)
    errors = {name: own for name, (_, own) in measured.items()}
    return Results(experiment.workdir.path, rows, errors, trained.best, probes)


def _chosen(experiment: Experiment, name: str, best: Best) -> str:
    """Which step validation has chosen, in a line."""
    which, step = "" if name == "raw" else f" ({name})", int(best.step)
    begun = step == 0 and experiment.config.model.pca_start
    start = ", where it began, at PCA" if begun else ""
    return f"chosen by validation{which}: step {step}{start}, loss {float(best.loss):.4g} there"


def _save_coding(
    experiment: Experiment, pca: LatentCodec, learnt: LatentCodec, model: autoencoder.Autoencoder
) -> None:
    """Writes ``coding.npz``: what the latents of PCA and of the model are like, so that they can be
    written in few bits. Entries of codebooks need none: the model knows how often each is used."""
    known = {"pca": coding_statistics(experiment, pca)}
    if "codebooks" not in learnt.variables:
        bottleneck: Any = model.bottleneck
        shift = bottleneck.bound if bottleneck.codebook_sizes else 0.0
        known["model"] = coding_statistics(experiment, learnt, shift)
    entropy_coding.save(experiment.workdir.path / entropy_coding.FILE, **known)


def _write_arrays(
    experiment: Experiment, nothing: LatentCodec, pca: LatentCodec, model: LatentCodec
) -> None:
    """Writes ``audio/``, and ``report.npz``: what the report shows that only JAX can work out."""
    heard, pictures = write_audio_examples(experiment, [nothing, pca, model])
    found = latent_map(experiment, pca, model)
    clips = [experiment.corpus.clips[index] for index in found.clips]
    about = {"map_clips": [{"name": clip.name, "labels": clip.labels} for clip in clips]}
    packed = arrays.pack_bytes(found.snippets)
    mapped = {
        "latent_means": found.means,
        "latent_variance": found.variance[experiment.config.name],
        "pca_variance": found.variance[PCA_ROW],
        **{f"snippets.{name}": part for name, part in packed.items()},
    }
    path = experiment.workdir.path / run_files.ARRAYS
    arrays.save(path, {**heard, **about}, {**pictures, **mapped})


def write_report(experiment: Experiment, results: Results) -> None:
    """Writes ``clips.jsonl``, then ``results.json``: where that is, the run is finished; then
    ``report.html``, from those files."""
    clips = experiment.corpus.clips
    tested = clips.of_split("test")
    without = nothing_row(experiment.config)
    latent = {name: found for name, found in results.errors.items() if name != without}
    lines = per_clip_errors.lines(clips, latent, tested)
    experiment.workdir.write_text(
        "clips.jsonl", "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    )
    probes = None
    if results.probes is not None:
        probes = [dataclasses.asdict(row) for row in results.probes]
    written = {
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
        },
        "by_label": per_clip_errors.by_label(clips, latent, tested, PCA_ROW),
        "probes": probes,
        "best": {name: one.as_json() for name, one in results.best.items()},
        "test_clips": len(tested),
        "device": str(experiment.devices),
        "command": experiment.command,
        "versions": {name: version(name) for name in ("aejax", "jax", "flax", "numpy")}
        | {"python": platform.python_version()},
        "seed": experiment.config.seed,
    }
    experiment.workdir.write_text(
        "results.json", json.dumps(written, indent=2, allow_nan=False) + "\n"
    )
    write_page(experiment.workdir.path)


def write_page(path: Path) -> None:
    """Writes ``report.html`` of a finished run, from its files."""
    defaults = config_module.flatten(config_module.default())
    page.write(path / run_files.REPORT, [path], defaults=defaults)


def print_results(path: Path) -> Results:
    """Prints the tables of a finished run, and where its files are; returns what was measured."""
    found = run_files.read_results(path)
    unit = found["units"]["feature_rmse"]
    print(f"\n{results_table(found['rows'], unit)}\n")
    if found.get("probes") is not None:
        print(f"{probes_table(found['probes'])}\n")
    if not (path / run_files.REPORT).exists():  # it was killed before the end, or is from before
        write_page(path)
    where = plain(str(path))
    print(f"results: {where}/results.json")
    print(f"report:  {where}/{run_files.REPORT}")
    print(f"audio:   {where}/audio/")
    print(f"curves:  {where}/metrics.jsonl, or: tensorboard --logdir={where}")
    return Results(path, [Row.from_json(row) for row in found["rows"]])
