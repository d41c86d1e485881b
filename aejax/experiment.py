"""One experiment, from config to results."""

from pathlib import Path

from ml_collections import ConfigDict

from aejax import config as config_module
from aejax import loggers
from aejax.data.corpus import Corpus
from aejax.evaluation.audio_examples import preview
from aejax.evaluation.probes import require_sklearn
from aejax.prepare import open_experiment, prepare
from aejax.results import Results, evaluate, print_results, write_report
from aejax.runtime import files, processes
from aejax.runtime.errors import UserError
from aejax.runtime.progress import warn
from aejax.training import checkpoint
from aejax.training.baselines import fit_pca
from aejax.training.loop import train
from aejax.training.plan import describe
from aejax.workdir import Workdir


def run(
    config: ConfigDict,
    workdir: str | Path | None = None,
    *,
    corpus: Corpus | None = None,
    command: str = "",
    profile: int = 0,
) -> Results:
    """Trains, evaluates and reports one experiment; resumes an interrupted run.

    Args:
      config: see `aejax.config.default`.
      workdir: the run's directory; ``runs/<config.name>`` by default.
      corpus: replaces the corpus of ``config.data``.
      command: shell command that repeats the run, for the report.
      profile: number of steps to trace by `jax.profiler`, into ``profile/`` in the run's directory.

    Returns:
      Everything measured on the test split.

    Raises:
      UserError: the config, the corpus or the directory is unusable; nothing has been written.
      Interrupted: on SIGTERM or SIGINT; the run has been saved.
    """
    processes.join()
    with processes.together():
        directory = begin(config, workdir)
    if processes.agree(directory.has("results.json")):
        if profile:
            raise UserError(f"the run in {directory.path} is finished; profile another --workdir")
        print("this run is finished; its results again:")
        return print_results(directory.path)
    try:
        with processes.explain_loss():
            experiment = prepare(directory.config, directory, corpus=corpus, command=command)
            _set_damaged_aside(directory)
            baselines = fit_pca(experiment)
            trained = train(experiment, baselines, preview(experiment), profile=profile)
            results = evaluate(experiment, baselines, trained)
            with processes.main_first():
                write_report(experiment, results)
                print_results(directory.path)
    finally:
        directory.release()
    return results


def _set_damaged_aside(directory: Workdir) -> None:
    """Renames damaged checkpoints of a run, with a warning; it resumes from an intact one."""
    with processes.main_first():
        if processes.is_main():
            for line in checkpoint.set_damaged_aside(directory.path / "checkpoints"):
                warn(line)


def dry_run(config: ConfigDict, workdir: str | Path | None = None) -> None:
    """Prints the plan of an experiment: corpus, shapes, memory, FLOPs and time; writes nothing.

    Args:
      config: see `aejax.config.default`.
      workdir: the run's directory, which must be usable.

    Raises:
      UserError: the config, the corpus or the directory is unusable.
    """
    directory = begin(config, workdir)
    for line in describe(open_experiment(directory.config, directory)):
        print(line, flush=True)


def begin(config: ConfigDict, workdir: str | Path | None) -> Workdir:
    """The directory of a run, after checks of its config and optional libraries; writes nothing.

    Raises:
      UserError: the config or the directory is unusable, or a library is missing.
    """
    config = config_module.expand_paths(config)
    config_module.validate(config)
    loggers.require(config)
    if config.evaluate.probes:
        require_sklearn()
    return Workdir(files.expand(workdir or Path("runs", config.name)), config)
