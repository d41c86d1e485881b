"""The command line: ``python -m aejax.main --config=experiments/mel_conv.py``."""

from aejax.runtime import stopping

_RESUME = "run the same command to resume"
if __name__ == "__main__":
    stopping.listen(_RESUME)  # the imports take seconds

import importlib.metadata
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from aejax import arguments, config, experiment
from aejax.runtime import compilation, files, malloc, processes
from aejax.runtime.errors import UserError, exit_code
from aejax.sweeps import plan, search, sweep

FLAGS = flags.FLAGS
_CONFIG = config_flags.DEFINE_config_file("config", help_string="An experiment file.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; runs/<name> by default.")
_SWEEP = flags.DEFINE_string("sweep", None, "A grid; without a value, the file's sweep().")
_SWEEP_MODE = flags.DEFINE_string("sweep_mode", "auto", "auto, population or sequential.")
_SEARCH = flags.DEFINE_integer("search", None, "Number of trials.")
_SEARCH_SPACE = flags.DEFINE_string("search_space", None, "Config keys and their ranges.")
_LAUNCHER = flags.DEFINE_string("launcher", "local", "Where the runs of a sweep are started.")
_LAUNCHER_OPTIONS = flags.DEFINE_string("launcher_options", "", "KEY=VALUE ... for the launcher.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Number of parallel runs.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0 of several.")
_PROCESSES = flags.DEFINE_integer("processes", None, "Number of processes of one run.")
_PROCESS = flags.DEFINE_integer("process", None, "Number of this process, from 0.")


def main(argv: Sequence[str]) -> int:
    """Runs one experiment, a sweep or a search; returns the exit code."""
    if {"--help", "-help", "-h"} & set(argv):
        return exit_code(arguments.print_help, interrupted=_RESUME)

    return exit_code(lambda: run(argv), interrupted=_RESUME)


def run(argv: Sequence[str], command: str = "") -> None:
    """Runs what ``command`` repeats in a shell; raises UserError for bad arguments."""
    processes.start(*arguments.process_flags(argv))
    with processes.together():
        chosen, workdir = _parse(argv)
        if processes.count() > 1 and (_SWEEP.value, _SEARCH.value) != (None, None):
            raise UserError("several processes work on one run; --launcher spreads a sweep")
    version = f"aejax {importlib.metadata.version('aejax')}, jax {jax.__version__}"
    alike = {"config": config.to_json(chosen), "--workdir": str(workdir), "version": version}
    processes.check_alike(alike)
    malloc.keep_freed()
    compilation.use_cache()
    command = command or f"python -m aejax.main {shlex.join(argv[1:])}"
    if _SWEEP.value is not None:
        _sweep(chosen, workdir, command)
    elif _SEARCH.value is not None:
        _search(_SEARCH.value, chosen, workdir, command)
    else:
        experiment.run(chosen, workdir, command=command)


def _sweep(chosen: ConfigDict, workdir: Path | None, command: str) -> None:
    path = arguments.experiment_file(FLAGS)
    overrides = plan.grid(_SWEEP.value, chosen) if _SWEEP.value else plan.file_overrides(path)
    root = workdir or Path("runs", f"{chosen.name}_sweep")
    repeat = arguments.repeating(path)
    sweep.run(
        plan.make_members(chosen, overrides, lambda config, folder: repeat(config, root / folder)),
        root,
        mode=_SWEEP_MODE.value,
        launcher=_LAUNCHER.value,
        options=arguments.launcher_options(_LAUNCHER_OPTIONS.value),
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


def _parse(argv: Sequence[str]) -> tuple[ConfigDict, Path | None]:
    sys.argv = list(arguments.words(argv))  # where ml-collections looks for overrides
    try:
        rest, chosen = FLAGS(sys.argv), _CONFIG.value
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(arguments.one_line(error)) from None
    if chosen is None:
        raise UserError("an experiment is missing: --config=experiments/mel_conv.py")
    if rest[1:]:
        raise UserError(f"unexpected argument {rest[1]!r}; see --help")
    arguments.check_flags(FLAGS)
    return config.expand_paths(chosen), files.expand(_WORKDIR.value) if _WORKDIR.value else None


if __name__ == "__main__":
    processes.leave(main(sys.argv))
