"""The command line: ``python -m aejax.main --config=experiments/mel_conv.py``."""

import itertools
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from aejax import experiment, memory
from aejax.config import default, flatten
from aejax.errors import INTERRUPTED, UserError, exit_code

FLAGS = flags.FLAGS
QUOTES = "\"'"
_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="An experiment file; --config.KEY=VALUE changes a key of it."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run goes; runs/<its name> by default.")


def main(argv: Sequence[str]) -> int:
    """Runs one experiment; returns the exit code."""
    if {"--help", "-help", "-h"} & set(argv):
        _print_help()
        return 0

    def run() -> None:
        config, workdir = _parse(argv)
        memory.keep_freed()
        _use_compilation_cache()
        experiment.run(config, workdir)

    return exit_code(run, interrupted="the same command goes on with the run")


def _print_help() -> None:
    print(
        "python -m aejax.main --config=experiments/mel_conv.py [--workdir=DIR]"
        " [--config.KEY=VALUE ...]\n\n"
        "  --config   an experiment file\n"
        "  --workdir  where the run goes; runs/<its name> by default\n\n"
        "Keys and their defaults, which an experiment may change; aejax/config.py says what they"
        " mean:\n"
    )
    for key, value in flatten(default()).items():
        print(f"  --config.{key}={value!r}")


def _parse(argv: Sequence[str]) -> tuple[ConfigDict, Path | None]:
    # Looked for here, since ml-collections prints a traceback of its own.
    for argument, following in itertools.zip_longest(argv[1:], argv[2:], fillvalue=""):
        option, equals, path = argument.partition("=")
        if option in ("--config", "-config"):
            path = path if equals else following
            if not Path(path.partition(":")[0]).is_file():
                raise UserError(f"--config={path}: there is no such experiment file")
    try:
        rest = FLAGS(list(argv))
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
    if config.data.path:  # so that a trailing slash is no other config
        config.data.path = str(Path(config.data.path))
    return config, Path(_WORKDIR.value) if _WORKDIR.value else None


def _use_compilation_cache() -> None:
    """Keeps compiled programs between runs; JAX_COMPILATION_CACHE_DIR says where, if set."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "aejax" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


if __name__ == "__main__":
    code = main(sys.argv)
    if code == INTERRUPTED and not multiprocessing.active_children():
        # XLA may still be compiling in a thread, and does not survive an orderly end.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
