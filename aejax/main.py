"""The command line: ``python -m aejax.main --config=experiments/mel_conv.py``."""

from aejax.runtime import stopping

_GOES_ON = "the same command goes on with the run"
if __name__ == "__main__":
    stopping.listen(_GOES_ON)  # the imports take seconds

import runpy
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from aejax import compilation, experiment, memory, search, sweep
from aejax.config import default, expand_paths, flatten
from aejax.errors import UserError, exit_code
from aejax.runtime import files

FLAGS = flags.FLAGS
QUOTES = "\"'"
_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="An experiment file; --config.KEY=VALUE changes a key of it."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run goes; runs/<its name> by default.")
_SWEEP = flags.DEFINE_string("sweep", None, "A grid; without a value, the file's sweep().")
_SWEEP_MODE = flags.DEFINE_string("sweep_mode", "auto", "auto, population or sequential.")
_SEARCH = flags.DEFINE_integer("search", None, "How many trials.")
_SEARCH_SPACE = flags.DEFINE_string("search_space", None, "Keys and what they may be.")
_LAUNCHER = flags.DEFINE_string("launcher", "local", "Where experiments of a sweep run.")
_LAUNCHER_OPTIONS = flags.DEFINE_string("launcher_options", "", "KEY=VALUE ... of the launcher.")
_JOBS = flags.DEFINE_integer("jobs", 1, "How many at once.")


def main(argv: Sequence[str]) -> int:
    """Runs one experiment; returns the exit code."""
    if {"--help", "-help", "-h"} & set(argv):
        _print_help()
        return 0

    def run() -> None:
        config, workdir = _parse(argv)
        memory.keep_freed()
        compilation.use_cache()
        command = "python -m aejax.main " + shlex.join(argv[1:])
        if _SWEEP.value is not None:
            _sweep(_SWEEP.value, config, workdir, command)
        elif _SEARCH.value is not None:
            _search(_SEARCH.value, config, workdir, command)
        else:
            experiment.run(config, workdir, command=command)

    return exit_code(run, interrupted=_GOES_ON)


def _sweep(given: str, config: ConfigDict, workdir: Path | None, command: str) -> None:
    path = _experiment_file()
    found = sweep.grid(given, config) if given else sweep.of_file(path)
    root = workdir or Path("runs", f"{config.name}_sweep")
    command_of = _commands(path)
    sweep.run(
        sweep.members(config, found, lambda one, folder: command_of(one, root / folder)),
        root,
        mode=_SWEEP_MODE.value,
        launcher=_LAUNCHER.value,
        options=_launcher_options(),
        jobs=_JOBS.value,
        command=command,
    )


def _search(count: int, config: ConfigDict, workdir: Path | None, command: str) -> None:
    if count < 1:
        raise UserError(f"--search={count} must be a number of trials, 1 or more")

    command_of = _commands(_experiment_file())

    def train(one: ConfigDict, path: Path) -> None:
        experiment.run(one, path, command=command_of(one, path))

    space = search.parse_space(_SEARCH_SPACE.value or "", config)
    root = workdir or Path("runs", f"{config.name}_search")
    search.run(config, count, space, root, train, command=command)


def _experiment_file() -> str:
    flag: Any = FLAGS["config"]
    return flag.config_filename


def _commands(experiment_file: str) -> Callable[[ConfigDict, Path], str]:
    """What repeats one experiment of a sweep or a search by itself, of its config and workdir."""
    path, colon, argument = experiment_file.partition(":")
    usual = flatten(runpy.run_path(path)["get_config"](*[argument] if colon else []))

    def command(config: ConfigDict, workdir: Path) -> str:
        keys = [
            f"--config.{key}={value}"
            for key, value in flatten(config).items()
            if value != usual[key]
        ]
        words = [f"--config={experiment_file}", f"--workdir={workdir}", *keys]
        return "python -m aejax.main " + shlex.join(words)

    return command


def _check_flags() -> None:
    """Refuses what would do nothing."""
    if _SWEEP.value is not None and _SEARCH.value is not None:
        raise UserError("--sweep and --search are two ways to many runs; give one of them")
    for flag in (_SWEEP_MODE, _LAUNCHER, _LAUNCHER_OPTIONS, _JOBS):
        if flag.present and _SWEEP.value is None:
            raise UserError(f"--{flag.name} is of a sweep; give --sweep too")
    if _SEARCH_SPACE.present and _SEARCH.value is None:
        raise UserError("--search_space is of a search; give --search=N too")
    if _SWEEP_MODE.value not in sweep.MODES:
        raise UserError(f"--sweep_mode={_SWEEP_MODE.value} must be one of {', '.join(sweep.MODES)}")


def _launcher_options() -> dict[str, str]:
    options = {}
    try:
        words = shlex.split(_LAUNCHER_OPTIONS.value)
    except ValueError as error:
        raise UserError(f"--launcher_options={_LAUNCHER_OPTIONS.value}: {error}") from None
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--launcher_options: {word!r} is not KEY=VALUE")
        options[key] = value
    return options


def _print_help() -> None:
    print(
        "python -m aejax.main --config=experiments/mel_conv.py [--workdir=DIR]"
        " [--config.KEY=VALUE ...]\n\n"
        "  --config            an experiment file\n"
        "  --workdir           where the run goes; runs/<its name> by default\n\n"
        "Many runs, with one table and one report over them all:\n\n"
        "  --sweep             those of the file's sweep(), or --sweep='model.latent_dim=4,8,16"
        " seed=0,1', a grid\n"
        "  --sweep_mode        auto: all that can be in one compiled program are trained together;"
        " population: that, or nothing;\n                      sequential: one by one\n"
        "  --search=N          N trials, chosen by Optuna from --search_space=\n"
        "                      'model.latent_dim=4..128:log model.encoder=conv,mlp'\n"
        "  --launcher          local (processes here), submitit (SLURM) or ray, with\n"
        "                      --launcher_options='KEY=VALUE ...'; of a sweep\n"
        "  --jobs              how many at once; of a sweep\n\n"
        "Keys and their defaults, which an experiment may change; aejax/config.py says what they"
        " mean:\n"
    )
    for key, value in flatten(default()).items():
        print(f"  --config.{key}={value!r}")


def _parse(argv: Sequence[str]) -> tuple[ConfigDict, Path | None]:
    try:
        rest = FLAGS(list(_words(argv)))
        config = _CONFIG.value
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        # ml-collections hands on the repr of a message of two lines.
        message = " ".join(str(error).replace("\\n", ". ").replace("\\'", "'").split())
        if message[:1] in QUOTES and message[:1] == message[-1:]:
            message = message[1:-1]
        raise UserError(f"{message}; --help lists all keys") from None
    if config is None:
        raise UserError("give an experiment: --config=experiments/mel_conv.py")
    if rest[1:]:
        raise UserError(f"unexpected argument {rest[1]!r}; see --help")
    _check_flags()
    config = expand_paths(config)
    return config, files.expand(_WORKDIR.value) if _WORKDIR.value else None


def _words(argv: Sequence[str]) -> Iterator[str]:
    """Arguments as absl takes them: an experiment file that is there, and a value for --sweep,
    which by itself is the file's own."""
    words = iter(argv)
    for word in words:
        option, equals, path = word.partition("=")
        if option in ("--config", "-config"):
            # Looked for here, since ml-collections prints a traceback of its own.
            path = str(files.expand(path if equals else next(words, "")))
            if not Path(path.partition(":")[0]).is_file():
                raise UserError(f"--config={path}: there is no such experiment file")
            yield f"--config={path}"
        else:
            yield "--sweep=" if word in ("--sweep", "-sweep") else word


if __name__ == "__main__":
    stopping.leave(main(sys.argv))
