"""The command ``aejax``: everything except training, which is ``python -m aejax.main``."""

from aejax.runtime import stopping

_RESUME = "run the same command to resume"
if __name__ == "__main__":
    stopping.listen(_RESUME)  # the imports take seconds

import argparse
from collections.abc import Callable, Sequence

from aejax import parts as part_registries
from aejax.commands import corpora, models, parts, reports
from aejax.runtime.errors import exit_code

_EXAMPLES = """examples:
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
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs = corpora.add(commands) | reports.add(commands) | models.add(commands)
    return parser, runs | parts.add(commands)


if __name__ == "__main__":
    stopping.leave(main())
