"""The command line: ``python -m aejax.main --config=experiments/mel_conv.py``."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from aejax import experiment
from aejax.errors import UserError

FLAGS = flags.FLAGS
_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="An experiment file; --config.KEY=VALUE changes a key of it."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the run goes; runs/<its name> by default.")


def main(argv: Sequence[str]) -> int:
    """Runs one experiment; returns the exit code."""
    try:
        _parse(argv)
        _use_compilation_cache()
        config = _CONFIG.value
        experiment.run(config, Path(_WORKDIR.value or Path("runs", config.name)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(argv: Sequence[str]) -> None:
    # Looked for here, since ml-collections prints a traceback of its own.
    for argument in argv:
        option, _, path = argument.partition("=")
        if option == "--config" and not Path(path.partition(":")[0]).is_file():
            raise UserError(f"--config={path}: there is no such experiment file")
    try:
        rest = FLAGS(list(argv))
        if _CONFIG.value is None:
            raise UserError("give an experiment: --config=experiments/mel_conv.py")
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(" ".join(str(error).split())) from None
    if rest[1:]:
        raise UserError(
            f"unexpected argument {rest[1]!r}; options begin with --config. or --workdir"
        )


def _use_compilation_cache() -> None:
    """Keeps compiled programs between runs; JAX_COMPILATION_CACHE_DIR says where, if set."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "aejax" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
