"""One experiment, from config to results."""

import contextlib
import dataclasses
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from aejax import coding
from aejax import config as config_module
from aejax.bars import bar, warn
from aejax.errors import Interrupted, UserError, plain
from aejax.evaluation import by_clip
from aejax.evaluation.by_clip import ClipErrors
from aejax.evaluation.evaluate import (
    Codec,
    Evaluator,
    Row,
    analyse,
    bound,
    decode,
    encode,
    identity,
    latents_of,
    with_gains,
)
from aejax.evaluation.probes import ClipMeans, ProbeRow, probe, require_sklearn
from aejax.evaluation.refine import refined
from aejax.fit import Trained, Trainee, fit_context, fit_pca, train
from aejax.latents import coding_statistics, latent_map
from aejax.listening import write_listening
from aejax.models import autoencoder
from aejax.models.pca import PCA, ContextPCA
from aejax.prepare import Experiment, denoises, prepare
from aejax.reporting import curve, page, run_files
from aejax.reporting.table import probes_table, results_table
from aejax.representation import valid_frames
from aejax.runtime import arrays, files
from aejax.training import checkpoint
from aejax.training.population import shared
from aejax.workdir import Workdir

PCA_ROW, PCA_CONTEXT_ROW = "pca", "pca_context"


class Job(NamedTuple):
    """A run that is wanted.

    Attributes:
      config: of the experiment, all of it (see `aejax.config.default`).
      path: of the run's directory.
      command: that repeats the run, as the report has it.
    """

    config: ConfigDict
    path: Path
    command: str


Rows = list[Row]


def run(config: ConfigDict, path: str | Path | None = None, *, command: str = "") -> Rows:
    """Trains, measures, and writes and prints the results; goes on where a killed run stopped.

    Args:
      config: of the experiment, all of it (see `aejax.config.default`).
      path: of the run's directory; ``runs/<config.name>`` by default.
      command: that repeats the run, as the report has it.

    Returns:
      The rows of the results table.

    Raises:
      UserError: before anything is written, if it is the config, the corpus or the directory.
    """
    workdir = files.expand(path or Path("runs", config.name))
    (found,) = run_together([Job(config, workdir, command)])
    if isinstance(found, UserError):
        raise found
    return found


def run_together(jobs: Sequence[Job]) -> list[Rows | UserError]:
    """Runs that are trained as one population, each as `run` would alone, in a directory of its
    own.

    Args:
      jobs: of valid configs that have in common what `aejax.training.population.shared` says.

    Returns:
      The rows of each, or the error that ended it, which the others do not mind.

    Raises:
      ValueError: they are no population.
      Interrupted: asked to stop; all have been saved.
    """
    jobs = [
        Job(config_module.expand_paths(config), files.expand(path), command)
        for config, path, command in jobs
    ]
    if any(shared(job.config) != shared(jobs[0].config) for job in jobs):
        raise ValueError("these configs differ in what is compiled")
    ended: dict[int, Rows | UserError] = {}
    with contextlib.ExitStack() as held:
        begun: dict[int, Experiment] = {}
        for place, job in enumerate(jobs):
            with _kept(ended, place):
                config_module.validate(job.config)
                if job.config.evaluate.probes:
                    require_sklearn()
                workdir = Workdir(job.path, job.config)
                if workdir.has("results.json"):
                    finished = run_files.read_results(job.path)
                    print("this run is finished; its results again:")
                    _print_results(workdir, finished)
                    ended[place] = [Row.from_json(row) for row in finished["rows"]]
                    continue
                held.callback(workdir.release)
                first = next(iter(begun.values()), None)
                experiment = prepare(job.config, workdir, first, command=job.command)
                for line in checkpoint.set_damaged_aside(job.path / "checkpoints"):
                    warn(line)
                begun[place] = experiment
        while begun:
            group = _next_group(begun)
            ended |= _train_and_measure(group)
            begun = {place: one for place, one in begun.items() if place not in group}
    return [ended[place] for place in range(len(jobs))]


@contextlib.contextmanager
def _kept(ended: dict[int, Rows | UserError], place: int) -> Iterator[None]:
    """An error ends one of the runs alone; being asked to stop ends them all."""
    try:
        yield
    except Interrupted:
        raise
    except UserError as error:
        ended[place] = error


def _next_group(begun: Mapping[int, Experiment]) -> dict[int, Experiment]:
    """Those that can be trained together: on the same clips, from a checkpoint of one step, the
    earliest first."""
    steps = {
        place: checkpoint.steps(one.workdir.path / "checkpoints") for place, one in begun.items()
    }
    lead = min(begun, key=lambda place: max(steps[place], default=-1))
    first, newest = begun[lead], max(steps[lead], default=None)
    return {
        place: one
        for place, one in begun.items()
        if one.corpus is first.corpus
        and one.noise is first.noise
        and (not steps[place] if newest is None else newest in steps[place])
    }


class _Fitted(NamedTuple):
    """A run that is ready to be trained."""

    trainee: Trainee
    evaluator: Evaluator
    linear: list[Codec]
    context: ContextPCA | None

    @property
    def latent_dim(self) -> int:
        """Of the model."""
        return self.trainee.experiment.config.model.latent_dim


def _train_and_measure(group: Mapping[int, Experiment]) -> dict[int, Rows | UserError]:
    """What becomes of each, by its key."""
    ended: dict[int, Rows | UserError] = {}
    ready: dict[int, _Fitted] = {}
    # The one of most latents first: its PCA has those of the others in it.
    for place in sorted(group, key=lambda place: -group[place].config.model.latent_dim):
        with _kept(ended, place):
            ready[place] = _fit(group[place], list(ready.values()))
    if not ready:
        return ended
    common: Common = {}
    trained = train([one.trainee for one in ready.values()])
    for place, one in ready.items():
        try:
            found = next(trained)
        except Interrupted:
            raise
        except UserError as error:  # of all that were still to be trained
            return dict.fromkeys(ready, error) | ended
        if isinstance(found, UserError):
            ended[place] = found
            continue
        with _kept(ended, place):
            ended[place] = _measure(one, found, common)
            workdir = one.trainee.experiment.workdir
            if len(group) == 1:
                _print_results(workdir, run_files.read_results(workdir.path))
            else:
                print(f"finished: {plain(str(workdir.path))}", flush=True)
    return ended


def _fit(experiment: Experiment, earlier: Sequence[_Fitted]) -> _Fitted:
    """PCA, what else is linear, and the model, before any training; ``earlier``: those of runs on
    the same audio, the largest first."""
    config = experiment.config
    same = next((one for one in earlier if one.latent_dim == config.model.latent_dim), None)
    fitted = fit_pca(experiment, earlier[0].trainee.fitted if earlier else None)
    dtype = jnp.dtype(config.train.dtype)
    model = autoencoder.from_config(
        config.model, experiment.representation.bins, dtype, speakers=len(experiment.speakers)
    )
    context = fit_context(experiment, model, fitted.pca, None if same is None else same.context)
    evaluator = Evaluator(
        representation=experiment.representation,
        yardstick=experiment.yardstick,
        downsampling=experiment.downsampling,
        centre=experiment.devices.copy(jnp.asarray(fitted.mean, jnp.float32)),
        place=experiment.place,
        hear=experiment.hear,
    )
    linear = linear_codecs(experiment, fitted.pca, context)
    if same is None:
        pca_rmse = evaluator.feature_rmse(linear[0], experiment.batches("validation"))
    else:
        pca_rmse = same.trainee.pca_rmse
    return _Fitted(Trainee(experiment, model, fitted, pca_rmse), evaluator, linear, context)


# What was found of a codec: a row, and the errors of clips.
Measured = tuple[Row, ClipErrors]
# The same of codecs that do not depend on the model, for several runs.
Common = dict[Any, Measured]


def _measure(fitted: _Fitted, trained: Trained, common: Common) -> Rows:
    """Measures a trained model on the test split, and writes all there is to say; ``common``: what
    does not depend on the model, and is measured for the first of several runs alone."""
    experiment = fitted.trainee.experiment
    config = experiment.config
    for name, best in trained.best.items():
        step = int(best.step)
        start = ", where it began, at PCA" if step == 0 and config.model.pca_start else ""
        which = "" if name == "raw" else f" ({name})"
        print(
            f"{experiment.workdir.path.name}: chosen by validation{which}: step {step}{start},"
            f" loss {float(best.loss):.4g} there"
        )
    learnt = trained_codecs(experiment, trained.model, trained.best)
    nothing = Codec(nothing_row(config), identity, identity, None, None)
    rows, errors = evaluate(experiment, [nothing, *fitted.linear], learnt, fitted.evaluator, common)
    save_coding(experiment, fitted.linear[0], learnt[0], trained.model)
    probes = config.evaluate.probes
    found = probe_latents(experiment, fitted.linear[0], learnt[0]) if probes else None
    write_results(experiment, rows, errors, trained.best, found)
    return rows


def save_coding(
    experiment: Experiment, pca: Codec, learnt: Codec, model: autoencoder.Autoencoder
) -> None:
    """Writes ``coding.npz``: what the latents of PCA and of the model are like, so that they can be
    written in few bits. Entries of codebooks need none: the model knows how often each is used."""
    known = {"pca": coding_statistics(experiment, pca)}
    if "codebooks" not in learnt.variables:
        bottleneck: Any = model.bottleneck
        shift = bottleneck.bound if bottleneck.codebook_sizes else 0.0
        known["model"] = coding_statistics(experiment, learnt, shift)
    coding.save(experiment.workdir.path / coding.FILE, **known)


def nothing_row(config: ConfigDict) -> str:
    """The name of the row in which no model does anything."""
    return curve.NOISY if denoises(config) else curve.CEILING


def linear_codecs(experiment: Experiment, pca: PCA, context: ContextPCA | None) -> list[Codec]:
    """PCA; PCA with its best decoder in context, where the model's sees more than one latent frame;
    and PCA of fewer latents, at the cuts of an ordered model."""
    model, cuts = experiment.config.model, tuple(experiment.config.evaluate.cuts)
    copy, rate = experiment.devices.copy, experiment.latent_rate
    found = [Codec(PCA_ROW, encode, decode, copy(pca), rate(model.latent_dim))]
    if context is not None:
        around = Codec(PCA_CONTEXT_ROW, encode, decode, copy(context), rate(model.latent_dim))
        found += [around, *_refined(experiment, around)]
    if model.bottleneck == "ordered":
        found += [
            Codec(_cut_pca(kept), encode, decode, copy(pca.first(kept)), rate(kept))
            for kept in cuts
        ]
    return found


def trained_codecs(
    experiment: Experiment, model: autoencoder.Autoencoder, best: Mapping[str, checkpoint.Best]
) -> list[Codec]:
    """The model, and what else there is of it: its average, with better latents, cut short.

    The model may be larger than the experiment's own (see `aejax.fit.Trained`); its latents beyond
    those of the experiment are 0.
    """
    config = experiment.config
    sizes = model.bottleneck.codebook_sizes
    rate = experiment.latent_rate(config.model.latent_dim)
    plain = model_codec(config, model, best["raw"].variables, rate)
    found = [plain]
    if "ema" in best:
        variables = best["ema"].variables
        found.append(
            dataclasses.replace(plain, name=f"{config.name}, averaged", variables=variables)
        )
    found += _refined(experiment, *found)
    for kept in config.evaluate.cuts:
        ordered = config.model.bottleneck == "ordered"
        cut = dataclasses.replace(
            plain,
            name=f"{config.name}, {kept} {'latents' if ordered else 'codebooks'}",
            encode=bound(autoencoder.encode_first, model, kept),
        )
        if ordered:
            cut = dataclasses.replace(cut, latent_floats_per_second=experiment.latent_rate(kept))
        else:
            first = bound(autoencoder.first_codes, model, kept)
            cut = dataclasses.replace(cut, codes=first, codebook_sizes=sizes[:kept])
        found.append(cut)
    return found


def model_codec(
    config: ConfigDict, model: autoencoder.Autoencoder, variables: Any, latent_rate: float
) -> Codec:
    """A model as what is measured."""
    sizes = model.bottleneck.codebook_sizes
    return Codec(
        config.name,
        bound(autoencoder.encode, model),
        bound(autoencoder.decode, model),
        variables,
        latent_rate,
        bound(autoencoder.codes, model) if sizes else None,
        sizes,
        config.model.latent_dim,
        bound(autoencoder.decode_as, model) if config.model.speaker_label else None,
    )


def _refined(experiment: Experiment, *codecs: Codec) -> list[Codec]:
    """The same codecs with latents improved through the decoder, if the config says so."""
    steps = experiment.config.evaluate.refine_steps
    if not steps or not codecs:
        return []
    better = refined(codecs[0].encode, codecs[0].decode, steps)
    return [
        dataclasses.replace(codec, name=f"{codec.name}, refined", encode=better) for codec in codecs
    ]


def evaluate(
    experiment: Experiment,
    given: Sequence[Codec],
    learnt: Sequence[Codec],
    evaluator: Evaluator,
    common: Common,
) -> tuple[list[Row], dict[str, ClipErrors]]:
    """The results table, measured on the test split, and the errors of each clip by codec; writes
    what there is to hear and see.

    Args:
      experiment: of the run.
      given: codecs that runs on the same audio have in common, where their sizes are the same.
      learnt: codecs of the run alone.
      evaluator: measures.
      common: what was found of the former, and is added to.
    """
    batches, clips = experiment.batches("test"), len(experiment.corpus.clips)

    def measure(codec: Codec) -> Measured:
        testing = bar(batches, desc=f"testing {codec.name}", unit="batch")
        return evaluator.row(codec, testing, clips)

    measured: dict[str, Measured] = {}
    for codec in given:
        key = (codec.name, codec.latent_floats_per_second, codec.encode, codec.decode)
        if key not in common:
            common[key] = measure(codec)
        measured[codec.name] = common[key]
    measured |= {codec.name: measure(codec) for codec in learnt}
    candidates = [*given, *learnt]
    rows = [row for row, _ in measured.values()]
    errors = {name: found for name, (_, found) in measured.items()}
    listened = nothing_row(experiment.config), PCA_ROW, experiment.config.name
    heard = write_listening(experiment, [one for one in candidates if one.name in listened])
    _write_arrays(experiment, candidates, *heard)
    cuts = experiment.config.evaluate.cuts
    return with_gains(rows, [PCA_ROW, *(_cut_pca(kept) for kept in cuts)]), errors


def _write_arrays(
    experiment: Experiment,
    candidates: Sequence[Codec],
    heard: Mapping[str, Any],
    pictures: Mapping[str, np.ndarray],
) -> None:
    """Writes ``report.npz``: what the report shows that only JAX can work out."""
    named = {codec.name: codec for codec in candidates}
    found = latent_map(experiment, named[PCA_ROW], named[experiment.config.name])
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


def _cut_pca(kept: int) -> str:
    return f"{PCA_ROW}, {kept} latents"


def probe_latents(experiment: Experiment, pca: Codec, model: Codec) -> list[ProbeRow]:
    """What linear probes read out of time-averaged features and latents, by label."""
    nothing = Codec("features", identity, identity, None, None)
    means = {codec.name: _clip_means(experiment, codec) for codec in (nothing, pca, model)}
    clips = experiment.corpus.clips
    return probe(means, clips, clips.of_split("train"), clips.of_split("test"))


def _clip_means(experiment: Experiment, codec: Codec) -> np.ndarray:
    """Latents of each clip of the training and test splits, averaged over time."""
    totals = None
    for split in ("train", "test"):
        for batch in bar(experiment.batches(split), desc=f"probing {codec.name}", unit="batch"):
            placed = experiment.devices.place(batch)
            features = analyse(placed["audio"], representation=experiment.representation)
            latents = latents_of(codec, features)
            frames, representation = features.shape[1], experiment.representation
            mask = valid_frames(representation, placed["length"], frames, experiment.downsampling)
            counted = np.asarray(mask)[:, :: frames // latents.shape[1]]
            totals = totals or ClipMeans(len(experiment.corpus.clips), latents.shape[-1])
            totals.add(np.asarray(latents), counted, batch["clip"])
    assert totals is not None
    return totals.means()


def write_results(
    experiment: Experiment,
    rows: Sequence[Row],
    errors: Mapping[str, ClipErrors],
    best: Mapping[str, checkpoint.Best],
    probes: Sequence[ProbeRow] | None,
) -> None:
    """Writes ``clips.jsonl``, then ``results.json``: where that is, the run is finished; then
    ``report.html``, from those files."""
    clips = experiment.corpus.clips
    tested = clips.of_split("test")
    without = nothing_row(experiment.config)
    latent = {name: found for name, found in errors.items() if name != without}
    lines = by_clip.lines(clips, latent, tested)
    experiment.workdir.write_text(
        "clips.jsonl", "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    )
    results = {
        "rows": [dataclasses.asdict(row) for row in rows],
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
        "by_label": by_clip.by_label(clips, latent, tested, PCA_ROW),
        "probes": None if probes is None else [dataclasses.asdict(row) for row in probes],
        "best": {name: one.as_json() for name, one in best.items()},
        "test_clips": len(tested),
        "device": str(experiment.devices),
        "command": experiment.command,
        "versions": {name: version(name) for name in ("aejax", "jax", "flax", "numpy")}
        | {"python": platform.python_version()},
        "seed": experiment.config.seed,
    }
    experiment.workdir.write_text(
        "results.json", json.dumps(results, indent=2, allow_nan=False) + "\n"
    )
    _write_report(experiment.workdir.path)


def _write_report(path: Path) -> None:
    defaults = config_module.flatten(config_module.default())
    page.write(path / run_files.REPORT, [path], defaults=defaults)


def _print_results(workdir: Workdir, results: Mapping[str, Any]) -> None:
    unit = results["units"]["feature_rmse"]
    print(f"\n{results_table(results['rows'], unit)}\n")
    if results.get("probes") is not None:
        print(f"{probes_table(results['probes'])}\n")
    path = workdir.path
    if not (path / run_files.REPORT).exists():  # it was killed before the end, or is from before
        _write_report(path)
    where = plain(str(path))
    print(f"results: {where}/results.json")
    print(f"report:  {where}/{run_files.REPORT}")
    print(f"audio:   {where}/audio/")
    print(f"curves:  {where}/metrics.jsonl, or: tensorboard --logdir={where}")
