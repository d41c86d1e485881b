"""The command ``aejax``: what is done with audio and with runs, apart from training."""

from aejax.runtime import stopping

GOES_ON = "the same command goes on from there"
if __name__ == "__main__":
    stopping.listen(GOES_ON)  # the imports take seconds

import argparse
import json
import os
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from aejax import config as config_module
from aejax.bars import progress
from aejax.data import audio_file, packed, record
from aejax.data.corpus import Corpus, Settings
from aejax.data.folder import open_folder
from aejax.data.packing import pack
from aejax.data.preflight import preflight, report
from aejax.errors import UserError, exit_code, plain
from aejax.reporting import page, run_files
from aejax.runtime import files
from aejax.tasks import commands as tasks
from aejax.tasks import places

_EXAMPLES = """examples:
  aejax inspect recordings
  aejax inspect recordings --split_by=folder --json > recordings.json
  aejax pack recordings packed --sample_rate=16000
  python -m aejax.main --config=experiments/mel_conv.py --config.data.path=packed
  aejax report runs/mel_conv runs/mel_lstm --out=both.html
  aejax reconstruct runs/mel_conv song.flac back.flac
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""

    def run() -> None:
        parser, commands = _parser()
        options = parser.parse_args(argv)
        commands[options.command](options)

    return exit_code(run, interrupted=GOES_ON)


def _parser() -> tuple[argparse.ArgumentParser, dict[str, Callable]]:
    """And what runs each command."""
    parser = argparse.ArgumentParser(
        prog="aejax", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    data = config_module.default().data
    corpus = argparse.ArgumentParser(add_help=False)
    corpus.add_argument(
        "folder", type=files.expand, metavar="DIR", help="of audio, searched recursively"
    )
    corpus.add_argument(
        "--sample_rate",
        type=int,
        default=data.sample_rate,
        metavar="HZ",
        help="to resample to; %(default)s by default, as data.sample_rate of a config",
    )
    corpus.add_argument("--channels", choices=audio_file.CHANNEL_POLICIES, default=data.channels)
    corpus.add_argument(
        "--include",
        action="append",
        metavar="PATTERN",
        help="glob of paths to take; may be given again",
    )
    corpus.add_argument(
        "--labels",
        default=data.labels,
        metavar="TABLE",
        help="CSV, TSV or Parquet with a column 'path'; DIR/labels.csv by default, if it is there",
    )
    about = "what is in a folder of audio or in a pack, what is wrong with it, how it splits"
    inspect = commands.add_parser("inspect", parents=[corpus], help=about, description=about)
    inspect.add_argument("--split_by", choices=("file", "folder"), default=data.split_by)
    inspect.add_argument("--split_seed", type=int, default=data.split_seed)
    for name in ("validation_fraction", "test_fraction"):
        about = "of files or folders; %(default)s by default"
        inspect.add_argument(f"--{name}", type=float, default=data[name], metavar="F", help=about)
    inspect.add_argument("--json", action="store_true", help="everything, for machines")
    about = "decodes and resamples a folder of audio into a few large files to train from"
    packing = commands.add_parser("pack", parents=[corpus], help=about, description=about)
    packing.add_argument("out", type=files.expand, metavar="OUT", help="a new folder")
    packing.add_argument(
        "--encoding",
        choices=record.ENCODINGS,
        default="pcm16",
        help="pcm16 is fastest, flac smallest, float32 exact",
    )
    packing.add_argument("--shard_megabytes", type=int, default=256, metavar="MB")
    packing.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="threads")
    about = "one HTML page about finished runs: curves, tables, and what they sound like"
    reporting = commands.add_parser("report", help=about, description=about)
    reporting.add_argument(
        "runs",
        type=files.expand,
        nargs="+",
        metavar="RUN",
        help="directory of a run, or of a sweep",
    )
    about = "of the page; report.html in the directory by default, if there is only one RUN"
    reporting.add_argument("--out", type=files.expand, metavar="FILE", help=about)
    reporting.add_argument("--force", action="store_true", help=tasks.FORCE)
    own = {"inspect": _inspect, "pack": _pack, "report": _report}
    return parser, own | tasks.add(commands)


def _settings(options: argparse.Namespace, **more: Any) -> Settings:
    return Settings(
        sample_rate=options.sample_rate,
        channels=options.channels,
        include=tuple(options.include or ("*",)),
        labels=options.labels,
        **more,
    )


def _inspect(options: argparse.Namespace) -> None:
    keys = ("split_by", "split_seed", "validation_fraction", "test_fraction")
    splitting = {key: getattr(options, key) for key in keys}
    _check(options, splitting)
    corpus: Corpus
    damage: dict[str, str] = {}
    if packed.is_pack(options.folder):
        about = packed.about(options.folder)
        options.sample_rate, options.channels = about["sample_rate"], about["channels"]
        pack_of = packed.PackedCorpus(options.folder, _settings(options, **splitting))
        corpus, damage = pack_of, pack_of.damage(progress)
    else:
        corpus = open_folder(options.folder, _settings(options, **splitting), progress=progress)
    found = preflight(corpus)
    if options.json:
        print(json.dumps(found.as_json() | {"damaged_shards": damage}, indent=1))
    else:
        print(report(found))
        for name, reason in damage.items():
            print(f"  {plain(name)}: {plain(reason)}")
    if damage:
        raise UserError(f"{len(damage)} shards of {options.folder} are damaged")


def _pack(options: argparse.Namespace) -> None:
    _check(options, {})
    if options.shard_megabytes < 1 or options.jobs < 1:
        raise UserError("--shard_megabytes and --jobs must be at least 1")
    source = open_folder(options.folder, _settings(options), progress=progress)
    pack(
        source,
        options.out,
        encoding=options.encoding,
        shard_bytes=options.shard_megabytes << 20,
        jobs=options.jobs,
        progress=progress,
    )
    print(report(preflight(source), most=5))
    default = config_module.default().data
    flags = [f"--config.data.path={shlex.quote(str(options.out))}"]
    flags += [
        f"--config.data.{key}={getattr(options, key)}"
        for key in ("sample_rate", "channels")
        if getattr(options, key) != default[key]
    ]
    print(
        f"\npacked in {plain(str(options.out))}; to train on it:\n"
        f"  python -m aejax.main --config=experiments/mel_conv.py --workdir=runs/packed"
        f" {' '.join(flags)}"
    )


def _report(options: argparse.Namespace) -> None:
    if options.out is None and len(options.runs) > 1:
        raise UserError("give --out=FILE, where the report of several runs goes")
    found, unfinished = run_files.find_runs(options.runs)
    out = options.out or options.runs[0] / run_files.REPORT
    # A run's own report is made anew, as the run makes it.
    own = options.out is None and out.is_file() and not out.is_symlink() and page.is_report(out)
    places.check_free([], out, force=options.force or own)
    if unfinished:
        print(f"not finished, and left out: {', '.join(map(plain, unfinished))}")
    defaults = config_module.flatten(config_module.default())
    page.write(out, found, defaults=defaults, unfinished=unfinished)
    print(f"report of {len(found)} run{'s'[: len(found) > 1]}: {plain(str(out))}")


def _check(options: argparse.Namespace, splitting: dict[str, Any]) -> None:
    """By the rules of the config, which has the same keys."""
    config = config_module.default()
    config.data.path = str(options.folder)
    config.data.update(sample_rate=options.sample_rate, **splitting)
    config_module.validate(config)


if __name__ == "__main__":
    stopping.leave(main())
