"""The arguments of the tasks, for `aejax.cli`."""

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aejax.runtime import files
from aejax.runtime.errors import UserError, printable

Task = Callable[[Path, Path], str]
FORCE = "write over what is there; of a link, over it, and not what it leads to"
_IN = "an audio file, a folder of them, or - for standard input"
_OUT = "a file, whose name says the format; a folder for a folder; or - for standard output"


def add(commands: Any) -> dict[str, Callable[[argparse.Namespace], None]]:
    """Adds a parser for each task; what runs each, by name."""
    parser = _new(
        commands,
        "reconstruct",
        "what a trained model makes of audio: as long, at the same rate, as many channels",
        "aejax reconstruct runs/mel_conv song.flac back.flac",
    )
    _one_to_one(parser)
    _iterations(parser)
    parser = _new(
        commands,
        "denoise",
        "audio without its noise, by a model that was trained with task=denoise",
        "aejax denoise runs/mel_denoise noisy.wav clean.wav",
    )
    _one_to_one(parser)
    parser = _new(
        commands,
        "convert",
        "what is said, in the voice of a speaker of the training audio",
        "aejax convert runs/voice_convert p225_001.wav as_p226.wav --to=vctk_p226",
    )
    _one_to_one(parser)
    about = "a value of the label that the run was trained with, such as the name of a folder"
    parser.add_argument("--to", required=True, metavar="SPEAKER", help=about)
    _iterations(parser)
    parser = _new(
        commands,
        "compress",
        "sound to a small file, by a trained model",
        "aejax compress runs/mel_conv speech.wav speech.aej --kbps=1.5",
    )
    _one_to_one(parser)
    about = (
        "kbit/s of the latents at most, of all channels together, beside a header of some 60"
        " bytes; by default what the model was trained for, or fine steps"
    )
    parser.add_argument("--kbps", type=float, metavar="K", help=about)
    parser = _new(
        commands,
        "decompress",
        "the sound that such a file stands for",
        "aejax decompress runs/mel_conv speech.aej speech.wav",
    )
    _one_to_one(parser)
    _iterations(parser)
    parser = _new(
        commands,
        "interpolate",
        "from one sound to another through a model's latents, in steps, or over a square of four",
        "aejax interpolate runs/mel_conv flute.wav violin.wav between.wav --steps=8",
    )
    parser.add_argument(
        "sounds", nargs="+", type=files.expand, metavar="SOUND", help="two, or four"
    )
    about = "an audio file for all steps in a row, or a new folder with a file for each"
    parser.add_argument("out", type=files.expand, metavar="OUT", help=about)
    about = "from one sound to another, both included; %(default)s by default"
    parser.add_argument("--steps", type=int, default=8, metavar="N", help=about)
    _iterations(parser)
    _force(parser)
    parser = _new(
        commands,
        "encode",
        "the latents of a folder of audio, with its labels, as a table",
        "aejax encode runs/mel_conv recordings latents.parquet",
    )
    parser.add_argument("folder", type=files.expand, metavar="DIR", help="of audio, or a pack")
    about = ".npz, or .parquet, which takes pyarrow"
    parser.add_argument("out", type=files.expand, metavar="OUT", help=about)
    _force(parser)
    parser = _new(
        commands,
        "evaluate",
        "a trained model, and the PCA of its run, measured on a folder of audio",
        "aejax evaluate runs/mel_conv recordings",
    )
    parser.add_argument("folder", type=files.expand, metavar="DIR", help="of audio, or a pack")
    parser.add_argument("--json", action="store_true", help="the rows, for machines")
    parser = _new(
        commands,
        "export",
        "a model for those who have no aejax: StableHLO by jax.export, weights as safetensors",
        "aejax export runs/mel_conv exported",
    )
    parser.add_argument("out", type=files.expand, metavar="OUT", help="a new folder")
    return {
        "reconstruct": _reconstruct,
        "denoise": _denoise,
        "convert": _convert,
        "compress": _compress,
        "decompress": _decompress,
        "interpolate": _interpolate,
        "encode": _encode,
        "export": _export,
        "evaluate": _evaluate,
    }


def _new(commands: Any, name: str, about: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=about,
        description=about,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=files.expand, metavar="RUN", help="directory of a finished run")
    return parser


def _one_to_one(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help=_IN)
    parser.add_argument("out", metavar="OUT", help=_OUT)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="files at once")
    _force(parser)


def _iterations(parser: argparse.ArgumentParser) -> None:
    about = "of the search for a phase (Griffin-Lim), where there is one; as trained by default"
    parser.add_argument("--iterations", type=int, metavar="N", help=about)


def _force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help=FORCE)


# What takes JAX is imported where it runs: the other commands begin at once.


def _reconstruct(options: argparse.Namespace) -> None:
    from aejax.inference import reconstruct

    _each(
        options,
        lambda model: lambda source, target: reconstruct.reconstruct(model, source, target),
        rename=lambda name: name,
        piped=".wav",
    )


def _denoise(options: argparse.Namespace) -> None:
    from aejax.inference import denoise

    def task_of(model: Any) -> Task:
        if not model.denoises:
            raise UserError(
                f"the run in {options.run} did not learn to take noise away; train one that does:"
                " python -m aejax.main --config=experiments/mel_denoise.py"
            )
        return lambda source, target: denoise.denoise(model, source, target)

    _each(options, task_of, rename=lambda name: name, piped=".wav")


def _convert(options: argparse.Namespace) -> None:
    from aejax.data import names
    from aejax.inference import convert

    def task_of(model: Any) -> Task:
        number = names.index(options.to, model.speakers)
        if number is None:
            known = ", ".join(model.speakers)
            raise UserError(
                f"the run in {options.run} knows no speaker {options.to}; "
                + (f"it knows {known}" if known else "it was not trained with model.speaker_label")
            )
        speaker = model.speakers[number]
        return lambda source, target: convert.convert(model, source, target, speaker)

    _each(options, task_of, rename=lambda name: name, piped=".wav")


def _compress(options: argparse.Namespace) -> None:
    from aejax.inference import compress, container

    if options.kbps is not None and not 0 < options.kbps < float("inf"):
        raise UserError(f"--kbps={options.kbps:g} must be above 0")

    def task_of(model: Any) -> Task:
        codec = compress.load(model, options.run)
        return lambda source, target: compress.compress(codec, source, target, options.kbps)

    # With its suffix, so that the way back knows the format, and two of one name stay apart.
    _each(options, task_of, rename=lambda name: name + container.SUFFIX, piped=container.SUFFIX)


def _decompress(options: argparse.Namespace) -> None:
    from aejax.inference import compress, container

    def task_of(model: Any) -> Task:
        codec = compress.load(model, options.run)
        return lambda source, target: compress.decompress(codec, source, target)

    _each(
        options,
        task_of,
        rename=lambda name: name.removesuffix(container.SUFFIX),
        piped=".wav",
        meant=(container.SUFFIX,),
    )


def _each(
    options: argparse.Namespace,
    task_of: Callable[[Any], Task],
    *,
    rename: Callable[[str], str],
    piped: str,
    **more: Any,
) -> None:
    from aejax.inference import places

    if options.jobs < 1:
        raise UserError("--jobs must be at least 1")
    pairs = places.find(
        options.source, options.out, rename=rename, piped=piped, force=options.force, **more
    )
    places.each(pairs, task_of(_load(options)), jobs=options.jobs)


def _interpolate(options: argparse.Namespace) -> None:
    from aejax.inference import interpolate, places

    if len(options.sounds) not in (2, 4):
        raise UserError(f"give two sounds, or four, and where to write; not {len(options.sounds)}")
    if options.steps < 2:
        raise UserError("--steps must be at least 2, one for each end")
    places.check_free(options.sounds, options.out, force=options.force)
    with places.named(", ".join(map(str, options.sounds))):
        said = interpolate.interpolate(_load(options), options.sounds, options.out, options.steps)
    places.say(str(options.out), said)


def _encode(options: argparse.Namespace) -> None:
    from aejax.corpora import open_corpus, settings_of
    from aejax.inference import latents, places

    latents.check(options.out)
    places.check_free([], options.out, force=options.force)
    model = _load(options)
    settings = dataclasses.replace(settings_of(model.config, all_of_it=True), copies=True)
    corpus = open_corpus(options.folder, settings)
    latents.write(options.out, latents.table(model, corpus))


def _export(options: argparse.Namespace) -> None:
    from aejax.inference import export, places

    places.check_free([], options.out, force=False)
    export.export(_load(options), options.out)


def _evaluate(options: argparse.Namespace) -> None:
    from aejax.data.preflight import preflight
    from aejax.inference import evaluate
    from aejax.reporting.table import results_table

    model = _load(options)
    corpus, found, lost = evaluate.evaluate(model, options.run, options.folder)
    rows = [dataclasses.asdict(row) for row in found]
    if options.json:
        about = preflight(corpus)
        left_out = {"left_out": about.left_out, "warnings": [*about.warnings, *lost]}
        print(json.dumps({"clips": len(corpus.clips), **left_out, "rows": rows}, indent=1))
        return
    minutes = float(corpus.clips.seconds().sum()) / 60
    print(f"{printable(corpus.title)}: {len(corpus.clips)} clips, {minutes:.1f} minutes\n")
    print(results_table(rows, model.representation.unit))


def _load(options: argparse.Namespace) -> Any:
    from aejax.inference.load import load
    from aejax.runtime import compilation, malloc

    malloc.keep_freed()
    compilation.use_cache()
    model = load(options.run)
    iterations = getattr(options, "iterations", None)
    if iterations is None:
        return model
    try:
        return model.with_iterations(iterations)
    except ValueError as error:
        raise UserError(f"--iterations={iterations}: {error}") from None
