"""The command line: ``python -m aejax.main --config=experiments/mel_conv.py``."""

from aejax.runtime import stopping

_RESUME = "run the same command to resume"
if __name__ == "__main__":
    stopping.listen(_RESUME)  # the imports take seconds

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from aejax import arguments, experiment, launchers
from aejax.runtime import compilation, files, malloc, processes
from aejax.runtime.errors import exit_code
from aejax.sweeps import plan, search, single, sweep

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", help_string="An experiment file.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; runs/<name> by default.")
_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "Print the plan; train and write nothing.")
_PROFILE = flags.DEFINE_integer("profile", 0, "Number of steps to trace by jax.profiler.")
_SWEEP = flags.DEFINE_string("sweep", None, "A grid; without a value, the file's sweep().")
_SWEEP_MODE = flags.DEFINE_string("sweep_mode", "auto", "auto, population or sequential.")
_SEARCH = flags.DEFINE_integer("search", None, "Number of trials.")
_SEARCH_SPACE = flags.DEFINE_string("search_space", None, "Config keys and their ranges.")
_LAUNCHER = flags.DEFINE_string("launcher", "local", "Where runs are started.")
_LAUNCHER_OPTIONS = flags.DEFINE_string("launcher_options", "", "KEY=VALUE ... for the launcher.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Number of parallel runs.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0 of several.")
_PROCESSES = flags.DEFINE_integer("processes", None, "Number of processes of one run.")
_PROCESS = flags.DEFINE_integer("process", None, "Number of this process, from 0.")


def main(argv: Sequence[str]) -> int:
    """Runs one experiment, a sweep or a search; returns the exit code."""
    wants_help = {"--help", "-help", "-h"} & set(argv)
    return exit_code(arguments.print_help if wants_help else lambda: run(argv), interrupted=_RESUME)


def run(argv: Sequence[str], command: str = "") -> None:
    """Runs what ``command`` repeats in a shell; raises UserError for bad arguments."""
    chosen = arguments.parse(FLAGS, argv)
    workdir = files.expand(_WORKDIR.value) if _WORKDIR.value else None
    malloc.keep_freed()
    compilation.use_cache()
    command = command or f"python -m aejax.main {shlex.join(arguments.of_one_process(argv[1:]))}"
    if _SWEEP.value is not None:
        _sweep(chosen, workdir, command)
    elif _SEARCH.value is not None:
        _search(_SEARCH.value, chosen, workdir, command)
    elif _DRY_RUN.value:
        experiment.dry_run(chosen, workdir)
    elif FLAGS["launcher"].present:
        options = launchers.parse_options(_LAUNCHER_OPTIONS.value)
        single.run(chosen, workdir, _LAUNCHER.value, options, command, profile=_PROFILE.value)
    else:
        experiment.run(chosen, workdir, command=command, profile=_PROFILE.value)


def _sweep(chosen: ConfigDict, workdir: Path | None, command: str) -> None:
    path = arguments.experiment_file(FLAGS)
    overrides = plan.grid(_SWEEP.value, chosen) if _SWEEP.value else plan.file_overrides(path)
    root = workdir or Path("runs", f"{chosen.name}_sweep")
    repeat = arguments.repeating(path)
    members = plan.make_members(
        chosen, overrides, lambda config, folder: repeat(config, root / folder)
    )
    if _DRY_RUN.value:
        sweep.dry_run(members, root, mode=_SWEEP_MODE.value, jobs=_JOBS.value)
        return
    sweep.run(
        members,
        root,
        mode=_SWEEP_MODE.value,
        launcher=_LAUNCHER.value,
        options=launchers.parse_options(_LAUNCHER_OPTIONS.value),
        jobs=_JOBS.value,
        command=command,
    )


def _search(count: int, chosen: ConfigDict, workdir: Path | None, command: str) -> None:
    repeat = arguments.repeating(arguments.experiment_file(FLAGS))
    space = search.parse_space(_SEARCH_SPACE.value or "", chosen)

    def train(trial: ConfigDict, path: Path) -> None:
        experiment.run(trial, path, command=repeat(trial, path))

    folder = workdir or Path("runs", f"{chosen.name}_search")
    search.run(chosen, count, space, folder, train, command=command)


if __name__ == "__main__":
    processes.leave(main(sys.argv))
