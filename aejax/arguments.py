"""The arguments of ``python -m aejax.main``: parsing, checks and help."""

import re
import runpy
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from aejax import parts
from aejax.config import check_known, expand_paths, flatten, keys, to_json
from aejax.runtime import files, processes, rendezvous
from aejax.runtime.errors import UserError
from aejax.sweeps import plan

_QUOTES = "\"'"
_SCIENTIFIC = re.compile(r"[0-9]+(\.[0-9]+)?[eE]\+?[0-9]{1,2}")


def words(argv: Sequence[str]) -> Iterator[str]:
    """Arguments for absl: --config as an absolute path; a bare --sweep as ``--sweep=``; a value of
    1e3 as 1000, which is an integer.

    Raises:
      UserError: the experiment file does not exist.
    """
    rest = iter(argv)
    for word in rest:
        option, equals, path = word.partition("=")
        if option in ("--config", "-config"):
            # For a missing file, ml-collections would print a traceback.
            path = str(files.expand(path if equals else next(rest, "")))
            if not Path(path.partition(":")[0]).is_file():
                raise UserError(f"--config={path}: no such experiment file")
            yield f"--config={path}"
        elif option.startswith("--config.") and _SCIENTIFIC.fullmatch(path):
            yield f"{option}={int(float(path))}" if float(path).is_integer() else word
        else:
            yield "--sweep=" if word in ("--sweep", "-sweep") else word


def parse(values: flags.FlagValues, argv: Sequence[str]) -> ConfigDict:
    """Joins the other processes of the run, if there are any, and parses the flags; returns the
    config, with absolute paths.

    Raises:
      UserError: naming the flag.
    """
    rendezvous.start(*process_flags(argv))
    with processes.together():
        config = _parse(values, argv)
        several = processes.count() > 1
        for name in ("dry_run", "sweep", "search", "launcher"):
            if several and values[name].present and values[name].value is not False:
                raise UserError(f"several processes train one run; --{name} is for one process")
    processes.check_alike({"config": to_json(config), "--workdir": str(values.workdir)})
    return config


def _parse(values: flags.FlagValues, argv: Sequence[str]) -> ConfigDict:
    sys.argv = list(words(argv))  # where ml-collections looks for overrides
    try:
        rest, chosen = values(sys.argv), values.config
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        _check_keys(argv)
        raise UserError(one_line(error)) from None
    if chosen is None:
        raise UserError("an experiment is missing: --config=experiments/mel_conv.py")
    if rest[1:]:
        raise UserError(f"unexpected argument {rest[1]!r}; see --help")
    check_flags(values)
    return expand_paths(chosen)


def _check_keys(argv: Sequence[str]) -> None:
    """Checks that the config keys among the arguments exist: for some that do not, ml-collections
    names only their last part."""
    known = {full for full, *_ in keys()}
    rooms = {full.rpartition(".")[0] for full in known}
    for word in argv:
        full = word.removeprefix("--config.").partition("=")[0]
        if word.startswith("--config.") and full not in rooms:
            check_known(full, known)


def process_flags(argv: Sequence[str]) -> tuple[str | None, int | None, int | None]:
    """The values of --coordinator, --processes and --process, which are needed before the others.

    Raises:
      UserError: a number is none.
    """
    values = dict(word.lstrip("-").partition("=")[::2] for word in argv if word.startswith("-"))

    def number(name: str) -> int | None:
        if name in values and not values[name].isdecimal():
            raise UserError(f"--{name}={values[name]} is not a number of processes")
        return int(values[name]) if name in values else None

    return values.get("coordinator"), number("processes"), number("process")


def of_one_process(argv: Sequence[str]) -> list[str]:
    """Arguments without those of `process_flags`: any number of processes repeats a run."""
    names = ("coordinator", "processes", "process")
    return [word for word in argv if word.lstrip("-").partition("=")[0] not in names]


def one_line(error: BaseException) -> str:
    """The message of an error of absl or ml-collections, which may be a repr of two lines; of an
    error in the experiment file, its own message and line."""
    cause = error
    while known := cause.__cause__ or cause.__context__:
        cause = known
    if cause is not error and "parsing config file" in str(error):
        frames = traceback.extract_tb(cause.__traceback__)
        inside = [frame for frame in frames if _is_experiment(frame.filename)]
        where = f"{inside[-1].filename}, line {inside[-1].lineno}: " if inside else ""
        return f"{where}{type(cause).__name__}: {' '.join(str(cause).split())}"
    message = " ".join(str(error).replace("\\n", ". ").replace("\\'", "'").split())
    if message[:1] in _QUOTES and message[:1] == message[-1:]:
        message = message[1:-1]
    return f"{message}; --help lists all keys"


def _is_experiment(file: str) -> bool:
    """Whether a file of a traceback is neither aejax's nor a library's."""
    path = Path(file)
    is_library = parts.is_of_aejax(path) or "site-packages" in path.parts
    return path.is_file() and (path.is_relative_to(parts.EXPERIMENTS) or not is_library)


def experiment_file(values: flags.FlagValues) -> str:
    """The value of --config."""
    flag: Any = values["config"]
    return flag.config_filename


def repeating(experiment_file: str) -> Callable[[ConfigDict, Path], str]:
    """Makes commands that repeat a single run of a sweep or a search.

    Args:
      experiment_file: value of --config.

    Returns:
      A function from a run's config and directory to its command.
    """
    path, colon, argument = experiment_file.partition(":")
    defaults = flatten(runpy.run_path(path)["get_config"](*[argument] if colon else []))

    def command(config: ConfigDict, workdir: Path) -> str:
        keys = [
            f"--config.{key}={value}"
            for key, value in flatten(config).items()
            if value != defaults[key]
        ]
        words = [f"--config={experiment_file}", f"--workdir={workdir}", *keys]
        return "python -m aejax.main " + shlex.join(words)

    return command


def print_help() -> None:
    """Prints all flags, and all config keys with their defaults and meanings."""
    print(
        "python -m aejax.main --config=experiments/mel_conv.py [--workdir=DIR]"
        " [--config.KEY=VALUE ...]\n\n"
        "  --config            an experiment file\n"
        "  --workdir           directory of the run (default: runs/<name>)\n"
        "  --dry_run           print the plan (shapes, memory, FLOPs, time); also with --sweep\n"
        "  --profile=N         trace N steps, for TensorBoard or Perfetto\n"
        "  --launcher          submitit (SLURM) or ray: starts the run in several processes, with\n"
        "                      --launcher_options='nodes=2 tasks_per_node=4 KEY=VALUE ...'\n\n"
        "Many runs, with one table and one report of all:\n\n"
        "  --sweep             the file's sweep(), or a grid:"
        " --sweep='model.latent_dim=4,8,16 seed=0,1'\n"
        "  --sweep_mode        auto: runs that can share a compiled program are trained together;\n"
        "                      population: all together, or an error; sequential: one by one\n"
        "  --search=N          N trials, chosen by Optuna from --search_space=\n"
        "                      'model.latent_dim=4..128:log model.encoder=conv,mlp'\n"
        "  --launcher          local (processes here), submitit or ray, with\n"
        "                      --launcher_options='KEY=VALUE ...'; of a sweep\n"
        "  --jobs              runs in parallel; for sweeps\n\n"
        "One run of several processes, each started with its number:\n\n"
        "  --coordinator       HOST:PORT of process 0; without it, SLURM, Open MPI, Kubernetes\n"
        "                      and TPU pods are recognised\n"
        "  --processes=N       number of processes\n"
        "  --process=I         number of this process, from 0\n\n"
        "Config keys, their defaults (an experiment may set others) and meanings:\n"
    )
    for key, default, about in keys():
        print(f"  --config.{key}={default!r}\n      {about.meaning}")


def check_flags(values: flags.FlagValues) -> None:
    """Refuses invalid flags and flags without effect.

    Raises:
      UserError: naming the flag.
    """
    if values.sweep is not None and values.search is not None:
        raise UserError("--sweep and --search exclude each other; use one of them")
    if values.search is not None and values.search < 1:
        raise UserError(f"--search={values.search} must be a number of trials, 1 or more")
    if values.profile < 0 or (values["profile"].present and not values.profile):
        raise UserError(f"--profile={values.profile} must be a number of steps, 1 or more")
    for name in ("sweep", "search", "dry_run"):
        if values.profile and values[name].present and values[name].value is not False:
            raise UserError(f"--profile is of a single run that trains; leave out --{name}")
    if values.dry_run and values.search is not None:
        raise UserError("--dry_run shows no --search, whose trials are not known before")
    for name in ("sweep_mode", "jobs"):
        if values[name].present and values.sweep is None:
            raise UserError(f"--{name} needs --sweep")
    has_launcher = values["launcher"].present
    if values["launcher_options"].present and values.sweep is None and not has_launcher:
        raise UserError("--launcher_options needs --launcher")
    if has_launcher and values.sweep is None:
        if values.launcher == "local":
            raise UserError("--launcher=local needs --sweep; a single run starts here without it")
        if values.dry_run or values.search is not None:
            name = "dry_run" if values.dry_run else "search"
            raise UserError(f"--{name} works in this process; leave out --launcher")
    if values["search_space"].present and values.search is None:
        raise UserError("--search_space needs --search=N")
    if values.sweep_mode not in plan.MODES:
        raise UserError(f"--sweep_mode={values.sweep_mode} must be one of {', '.join(plan.MODES)}")
