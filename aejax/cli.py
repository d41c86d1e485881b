"""The command ``aejax``; ``aejax train`` is ``python -m aejax.main``."""

from aejax.runtime import stopping

_RESUME = "run the same command to resume"
if __name__ == "__main__":
    stopping.listen(_RESUME)  # the imports take seconds

import argparse
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version

from aejax import parts as part_registries
from aejax.commands import corpora, models, parts, reports, training
from aejax.runtime import processes
from aejax.runtime.errors import exit_code

_EXAMPLES = """examples:
  aejax train mel_conv train.steps=2000 --workdir=runs/longer
  aejax inspect recordings
  aejax inspect recordings --split_by=folder --json > recordings.json
  aejax pack recordings packed --sample_rate=16000
  python -m aejax.main --config=experiments/mel_conv.py --config.data.path=packed
  aejax report runs/mel_conv runs/mel_lstm --out=both.html
  aejax reconstruct runs/mel_conv song.flac back.flac
  aejax parts conv
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""

    def run() -> None:
        parser, commands = _parser()
        options = parser.parse_args(argv)
        for path in options.parts or ():
            part_registries.load(path)
        commands[options.command](options)

    return exit_code(run, interrupted=_RESUME)


def _parser() -> tuple[argparse.ArgumentParser, dict[str, Callable]]:
    """The parser, and the functions of all commands by name."""
    parser = argparse.ArgumentParser(
        prog="aejax", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about = "a file that registers your own parts; repeatable; before COMMAND"
    parser.add_argument("--parts", action="append", metavar="FILE", help=about)
    parser.add_argument("--version", action="version", version=_versions())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    functions: dict[str, Callable] = {}
    for module in (training, corpora, reports, models, parts):
        functions |= module.add(commands)
    return parser, functions


def _versions() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("jax", "flax", "numpy"))
    return f"aejax {version('aejax')} ({libraries}, Python {platform.python_version()})"


if __name__ == "__main__":
    processes.leave(main())
