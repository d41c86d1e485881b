"""``aejax inspect`` and ``aejax pack``: folders of audio."""

import argparse
import dataclasses
import json
import shlex
from typing import Any

from ml_collections import ConfigDict

from aejax import launchers, parts
from aejax.data import audio_file, packed, record
from aejax.data.cluster import tasks_in
from aejax.data.corpus import Corpus, Settings
from aejax.data.folder import FolderCorpus, open_folder
from aejax.data.keys import Data
from aejax.data.packing import pack, prepare
from aejax.data.preflight import preflight, report
from aejax.data.scan import check_folder
from aejax.runtime import files, words
from aejax.runtime.errors import UserError, printable
from aejax.runtime.progress import progress


def add(commands: Any) -> dict[str, Any]:
    """Adds a parser for each command; returns the function of each, by name."""
    data = Data()
    corpus = argparse.ArgumentParser(add_help=False)
    corpus.add_argument(
        "folder", type=files.expand, metavar="DIR", help="folder of audio, searched recursively"
    )
    corpus.add_argument(
        "--sample_rate",
        type=int,
        default=data.sample_rate,
        metavar="HZ",
        help="sample rate to resample to, see data.sample_rate (default: %(default)s)",
    )
    corpus.add_argument("--channels", choices=audio_file.CHANNEL_POLICIES, default=data.channels)
    corpus.add_argument(
        "--include",
        action="append",
        metavar="PATTERN",
        help="glob pattern of paths to use; may be repeated",
    )
    corpus.add_argument(
        "--labels",
        default=data.labels,
        metavar="TABLE",
        help="CSV, TSV or Parquet with a column 'path' (default: DIR/labels.csv, if it exists)",
    )
    about = "list contents, problems and splits of a folder of audio or a pack"
    inspect = commands.add_parser("inspect", parents=[corpus], help=about, description=about)
    inspect.add_argument("--split_by", choices=("file", "folder"), default=data.split_by)
    inspect.add_argument("--split_seed", type=int, default=data.split_seed)
    for name in ("validation_fraction", "test_fraction"):
        about = "fraction of files or folders (default: %(default)s)"
        inspect.add_argument(
            f"--{name}", type=float, default=getattr(data, name), metavar="F", help=about
        )
    inspect.add_argument("--json", action="store_true", help="print the complete summary as JSON")
    about = "decode and resample a folder of audio to a few large files for training"
    packing = commands.add_parser("pack", parents=[corpus], help=about, description=about)
    packing.add_argument("out", type=files.expand, metavar="OUT", help="a new folder")
    packing.add_argument(
        "--encoding",
        choices=record.ENCODINGS,
        default="pcm16",
        help="pcm16 is fastest, flac smallest, float32 exact",
    )
    packing.add_argument("--shard_megabytes", type=int, default=256, metavar="MB")
    packing.add_argument(
        "--jobs", type=int, metavar="N", help="threads; with a launcher, tasks at once"
    )
    packing.add_argument(
        "--launcher",
        choices=("ray", "submitit"),
        help="read and pack in tasks of a Ray cluster, or of SLURM, which share a file system",
    )
    packing.add_argument("--launcher_options", default="", metavar="'KEY=VALUE ...'")
    return {"inspect": _inspect, "pack": _pack}


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
        corpus = packed.PackedCorpus(options.folder, _settings(options, **splitting))
        damage = corpus.damage(progress)
    else:
        corpus = open_folder(options.folder, _settings(options, **splitting), progress=progress)
    summary = preflight(corpus)
    if options.json:
        print(json.dumps(summary.as_json() | {"damaged_shards": damage}, indent=1))
    else:
        print(report(summary))
        for name, reason in damage.items():
            print(f"  {printable(name)}: {printable(reason)}")
    if damage:
        raise UserError(f"{options.folder} has {words.count(len(damage), 'damaged shard')}")


def _pack(options: argparse.Namespace) -> None:
    _check(options, {})
    if options.shard_megabytes < 1 or (options.jobs is not None and options.jobs < 1):
        raise UserError("--shard_megabytes and --jobs must be at least 1")
    source = _pack_by_launcher(options) if options.launcher else _pack_here(options)
    print(report(preflight(source), most=5))
    default = Data()
    flags = [f"--config.data.path={shlex.quote(str(options.out))}"]
    flags += [
        f"--config.data.{key}={getattr(options, key)}"
        for key in ("sample_rate", "channels")
        if getattr(options, key) != getattr(default, key)
    ]
    print(
        f"\npacked in {printable(str(options.out))}; to train on it:\n"
        f"  python -m aejax.main --config=experiments/mel_conv.py --workdir=runs/packed"
        f" {' '.join(flags)}"
    )


def _pack_here(options: argparse.Namespace) -> FolderCorpus:
    if options.launcher_options:
        raise UserError("--launcher_options needs --launcher")
    source = open_folder(options.folder, _settings(options), progress=progress)
    pack(source, options.out, **_format(options), jobs=options.jobs, progress=progress)
    return source


def _pack_by_launcher(options: argparse.Namespace) -> FolderCorpus:
    if options.jobs is None:
        raise UserError("--launcher needs --jobs=N, the number of tasks at once")
    folder, out = options.folder.absolute(), options.out.absolute()  # of other machines
    check_folder(folder)
    settings, form = _settings(options), _format(options)
    chosen = launchers.parse_options(options.launcher_options)
    launchers.check(kind=options.launcher, jobs=options.jobs, options=chosen)
    prepare(out, settings, **form)
    kind, jobs = options.launcher, options.jobs
    with tasks_in(out / "tasks", kind=kind, jobs=jobs, options=chosen) as cluster:
        source = open_folder(folder, settings, examine=cluster.examine, progress=progress)
        pack(source, out, **form, write=cluster.write_shards, progress=progress)
    return source


def _format(options: argparse.Namespace) -> dict[str, Any]:
    return {"encoding": options.encoding, "shard_bytes": options.shard_megabytes << 20}


def _check(options: argparse.Namespace, splitting: dict[str, Any]) -> None:
    """Checks the options by the rules of the config keys of the same names."""
    data = dataclasses.replace(
        Data(), path=str(options.folder), sample_rate=options.sample_rate, **splitting
    )
    for name, (_, about) in parts.keys_of(Data).items():
        if problem := about.rule(getattr(data, name)):
            raise UserError(f"config.data.{name}={getattr(data, name)!r} {problem}")
    Data.check(ConfigDict({"data": dataclasses.asdict(data)}))
