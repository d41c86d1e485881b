"""One run in several processes that a launcher starts."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from aejax import experiment, launchers, parts
from aejax.runtime import compilation, malloc, processes, words
from aejax.runtime.errors import UserError, printable
from aejax.runtime.progress import note
from aejax.workdir import LOGS


def run(
    config: ConfigDict,
    workdir: Path | None,
    launcher: str,
    options: Mapping[str, str],
    command: str,
    profile: int = 0,
) -> None:
    """Launches a run, and prints what its main process prints; each has a log in ``logs/``.

    Args:
      config, workdir, command, profile: see `aejax.experiment.run`.
      launcher, options: see `aejax.launchers.run`.

    Raises:
      UserError: the run cannot start, or has failed.
    """
    parsed = launchers.check(kind=launcher, jobs=1, options=options, together=True)
    directory = experiment.begin(config, workdir)
    if directory.has("results.json"):
        experiment.run(config, workdir, command=command, profile=profile)
        return
    logs = directory.path / LOGS
    own_parts = tuple(sorted(set(parts.outside().values())))
    task = launchers.Task(
        function=train,
        arguments=(directory.config, directory.path, command, profile, own_parts),
        log=logs / "process.txt",
    )
    number, where = launchers.count_processes(parsed), printable(str(logs))
    note(f"{launcher} is to start {words.count(number, 'process')}; logs: {where}")
    try:
        launchers.run(task, kind=launcher, options=options)
    except launchers.TaskError as error:
        raise UserError(f"{error}; logs: {where}") from None


def train(
    config: ConfigDict, workdir: Path, command: str, profile: int, own_parts: Sequence[str]
) -> None:
    """Trains in this process, which is one of several that `rendezvous.start` has joined.

    Args:
      config, workdir, command, profile: see `aejax.experiment.run`.
      own_parts: modules of the user's own parts.

    Raises:
      UserError: as `aejax.experiment.run`; or the processes have other versions of aejax.
    """
    for own in own_parts:
        parts.load(own)
    processes.check_alike({})
    malloc.keep_freed()
    compilation.use_cache()
    experiment.run(config, workdir, command=command, profile=profile)
