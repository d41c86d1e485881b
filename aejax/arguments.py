"""What ``python -m aejax.main`` makes of its arguments, beside the flags themselves."""

import runpy
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from aejax.config import flatten, keys
from aejax.runtime import files
from aejax.runtime.errors import UserError
from aejax.sweeps import plan

_QUOTES = "\"'"


def words(argv: Sequence[str]) -> Iterator[str]:
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


def one_line(error: Exception) -> str:
    """The message of an error of absl or ml-collections, which hands on the repr of two lines."""
    message = " ".join(str(error).replace("\\n", ". ").replace("\\'", "'").split())
    if message[:1] in _QUOTES and message[:1] == message[-1:]:
        message = message[1:-1]
    return message


def experiment_file(values: flags.FlagValues) -> str:
    """The path that --config gives."""
    flag: Any = values["config"]
    return flag.config_filename


def repeating(experiment_file: str) -> Callable[[ConfigDict, Path], str]:
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


def launcher_options(text: str) -> dict[str, str]:
    """``"KEY=VALUE ..."`` as a dict.

    Raises:
      UserError: it is something else.
    """
    options = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--launcher_options={text}: {error}") from None
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--launcher_options: {word!r} is not KEY=VALUE")
        options[key] = value
    return options


def print_help() -> None:
    """Prints all flags, and all config keys with their defaults and meanings."""
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
        "Keys with their defaults, which an experiment may change, and their meanings:\n"
    )
    for key, usual, about in keys():
        print(f"  --config.{key}={usual!r}\n      {about.meaning}")


def check_flags(values: flags.FlagValues) -> None:
    """Refuses flags that would do nothing.

    Raises:
      UserError: naming the flag.
    """
    if values.sweep is not None and values.search is not None:
        raise UserError("--sweep and --search are two ways to many runs; give one of them")
    if values.search is not None and values.search < 1:
        raise UserError(f"--search={values.search} must be a number of trials, 1 or more")
    for name in ("sweep_mode", "launcher", "launcher_options", "jobs"):
        if values[name].present and values.sweep is None:
            raise UserError(f"--{name} is of a sweep; give --sweep too")
    if values["search_space"].present and values.search is None:
        raise UserError("--search_space is of a search; give --search=N too")
    if values.sweep_mode not in plan.MODES:
        raise UserError(f"--sweep_mode={values.sweep_mode} must be one of {', '.join(plan.MODES)}")
