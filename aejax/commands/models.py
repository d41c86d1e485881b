"""The subcommands that use a trained model: ``aejax reconstruct``, ``aejax encode`` and others."""

import argparse
import dataclasses
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from aejax.data.audio_file import SUFFIXES
from aejax.runtime import files, words
from aejax.runtime.errors import UserError, printable

Task = Callable[[Path, Path], str]
Runner = Callable[[argparse.Namespace], None]
FORCE = "overwrite existing files; replaces a symbolic link, not its target"
_IN = "an audio file, a folder of them, or - for standard input"
_OUT = "a file, its format by suffix; a folder if IN is a folder; or - for standard output"


def add(commands: Any) -> dict[str, Runner]:
    """Adds a parser for each task; returns the function of each, by name."""
    return _add_file_tasks(commands) | _add_other_tasks(commands)


def _add_file_tasks(commands: Any) -> dict[str, Runner]:
    """Tasks from a file to a file, or from a folder to a folder."""
    parser = _add_parser(
        commands,
        "reconstruct",
        "reconstruct audio with a trained model, at the same length, rate and channels",
        "aejax reconstruct runs/mel_conv song.flac back.flac",
    )
    _add_in_out(parser)
    _add_iterations(parser)
    parser = _add_parser(
        commands,
        "denoise",
        "remove noise with a model trained with task=denoise",
        "aejax denoise runs/mel_denoise noisy.wav clean.wav",
    )
    _add_in_out(parser)
    parser = _add_parser(
        commands,
        "convert",
        "convert speech to the voice of a speaker of the training audio",
        "aejax convert runs/voice_convert p225_001.wav as_p226.wav --to=vctk_p226",
    )
    _add_in_out(parser)
    about = "a speaker of the training audio: a value of the speaker label, such as a folder name"
    parser.add_argument("--to", required=True, metavar="SPEAKER", help=about)
    _add_iterations(parser)
    parser = _add_parser(
        commands,
        "compress",
        "compress audio to a small file with a trained model",
        "aejax compress runs/mel_conv speech.wav speech.aej --kbps=1.5",
    )
    _add_in_out(parser)
    about = (
        "maximum kbit/s of the latents of all channels together, without the header of about"
        " 60 bytes (default: the rate that the model was trained for, or fine quantisation)"
    )
    parser.add_argument("--kbps", type=float, metavar="K", help=about)
    parser = _add_parser(
        commands,
        "decompress",
        "decompress a file of aejax compress to audio",
        "aejax decompress runs/mel_conv speech.aej speech.wav",
    )
    _add_in_out(parser)
    _add_iterations(parser)
    return {
        "reconstruct": _reconstruct,
        "denoise": _denoise,
        "convert": _convert,
        "compress": _compress,
        "decompress": _decompress,
    }


def _add_other_tasks(commands: Any) -> dict[str, Runner]:
    parser = _add_parser(
        commands,
        "interpolate",
        "interpolate in latent space between two sounds, or over a square of four",
        "aejax interpolate runs/mel_conv flute.wav violin.wav between.wav --steps=8",
    )
    parser.add_argument(
        "sounds", nargs="+", type=files.expand, metavar="SOUND", help="two or four audio files"
    )
    about = "an audio file of all steps, or a new folder with a file for each"
    parser.add_argument("out", type=files.expand, metavar="OUT", help=about)
    about = "steps from sound to sound, including both (default: %(default)s)"
    parser.add_argument("--steps", type=int, default=8, metavar="N", help=about)
    _add_iterations(parser)
    _add_force(parser)
    parser = _add_parser(
        commands,
        "encode",
        "write the latents and labels of a folder of audio as a table",
        "aejax encode runs/mel_conv recordings latents.parquet",
    )
    parser.add_argument(
        "folder", type=files.expand, metavar="DIR", help="a folder of audio, or a pack"
    )
    about = "a .npz file, or a .parquet file (needs pyarrow)"
    parser.add_argument("out", type=files.expand, metavar="OUT", help=about)
    _add_force(parser)
    parser = _add_parser(
        commands,
        "evaluate",
        "evaluate a trained model and the PCA of its run on a folder of audio",
        "aejax evaluate runs/mel_conv recordings",
    )
    parser.add_argument(
        "folder", type=files.expand, metavar="DIR", help="a folder of audio, or a pack"
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser = _add_parser(
        commands,
        "export",
        "export a model for use without aejax: StableHLO, safetensors and a model card",
        "aejax export runs/mel_conv exported",
    )
    parser.add_argument("out", type=files.expand, metavar="OUT", help="a new folder")
    about = "of the weights, as model hubs write it: cc-by-4.0 (default: %(default)s)"
    parser.add_argument("--license", default="unknown", metavar="NAME", help=about)
    return {
        "interpolate": _interpolate,
        "encode": _encode,
        "evaluate": _evaluate,
        "export": _export,
    }


def _add_parser(commands: Any, name: str, about: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=about,
        description=about,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=files.expand, metavar="RUN", help="directory of a finished run")
    return parser


def _add_in_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="IN", help=_IN)
    parser.add_argument("out", metavar="OUT", help=_OUT)
    parser.add_argument(
        "--jobs",
        type=int,
        default=2,
        metavar="N",
        help="files processed at once (default: %(default)s)",
    )
    _add_force(parser)


def _add_iterations(parser: argparse.ArgumentParser) -> None:
    about = "iterations of Griffin-Lim, if the model needs it (default: as in its config)"
    parser.add_argument("--iterations", type=int, metavar="N", help=about)


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help=FORCE)


# Modules that need JAX are imported inside of the functions: other commands start faster.


def _reconstruct(options: argparse.Namespace) -> None:
    from aejax.inference import reconstruct

    _run_task(
        options, lambda model: lambda source, target: reconstruct.reconstruct(model, source, target)
    )


def _denoise(options: argparse.Namespace) -> None:
    from aejax.inference import denoise

    def task_of(model: Any) -> Task:
        if not model.denoises:
            raise UserError(
                f"the run in {options.run} was not trained to remove noise; train one with"
                " python -m aejax.main --config=experiments/mel_denoise.py"
            )
        return lambda source, target: denoise.denoise(model, source, target)

    _run_task(options, task_of)


def _convert(options: argparse.Namespace) -> None:
    from aejax.data import names
    from aejax.inference import convert

    def task_of(model: Any) -> Task:
        number = names.index(options.to, model.speakers)
        if number is None:
            known = ", ".join(model.speakers)
            raise UserError(
                f"the run in {options.run} has no speaker {options.to}; "
                + (f"it has {known}" if known else "it was not trained with model.speaker_label")
            )
        speaker = model.speakers[number]
        return lambda source, target: convert.convert(model, source, target, speaker)

    _run_task(options, task_of)


def _compress(options: argparse.Namespace) -> None:
    from aejax.inference import compress, container

    if options.kbps is not None and not 0 < options.kbps < float("inf"):
        raise UserError(f"--kbps={options.kbps:g} must be above 0")

    def task_of(model: Any) -> Task:
        codec = compress.load(model, options.run)
        return lambda source, target: compress.compress(codec, source, target, options.kbps)

    # a.wav becomes a.wav.aej: the name has the format for decompression.
    _run_task(options, task_of, rename=lambda name: name + container.SUFFIX, piped=container.SUFFIX)


def _decompress(options: argparse.Namespace) -> None:
    from aejax.inference import compress, container

    def task_of(model: Any) -> Task:
        codec = compress.load(model, options.run)
        return lambda source, target: compress.decompress(codec, source, target)

    _run_task(
        options,
        task_of,
        rename=lambda name: name.removesuffix(container.SUFFIX),
        suffixes=(container.SUFFIX,),
    )


def _run_task(
    options: argparse.Namespace,
    task_of: Callable[[Any], Task],
    *,
    rename: Callable[[str], str] = lambda name: name,
    piped: str = ".wav",
    suffixes: Collection[str] = SUFFIXES,
) -> None:
    """Runs a task on the files of IN; arguments as for `paths.find`."""
    from aejax.inference import paths

    if options.jobs < 1:
        raise UserError("--jobs must be at least 1")
    pairs = paths.find(
        options.source,
        options.out,
        rename=rename,
        piped=piped,
        force=options.force,
        suffixes=suffixes,
    )
    paths.run_task(pairs, task_of(_load(options)), jobs=options.jobs)


def _interpolate(options: argparse.Namespace) -> None:
    from aejax.inference import interpolate, paths

    if len(options.sounds) not in (2, 4):
        number = words.count(len(options.sounds), "sound")
        raise UserError(f"give two or four sounds and an output, not {number}")
    if options.steps < 2:
        raise UserError("--steps must be at least 2, for both ends")
    paths.check_free(options.sounds, options.out, force=options.force)
    with paths.named(", ".join(map(str, options.sounds))):
        message = interpolate.interpolate(
            _load(options), options.sounds, options.out, options.steps
        )
    paths.say(str(options.out), message)


def _encode(options: argparse.Namespace) -> None:
    from aejax.corpora import open_corpus, settings_of
    from aejax.inference import latents, paths

    latents.check(options.out)
    paths.check_free([], options.out, force=options.force)
    model = _load(options)
    settings = dataclasses.replace(settings_of(model.config, all_of_it=True), copies=True)
    corpus = open_corpus(options.folder, settings)
    latents.write(options.out, latents.table(model, corpus))


def _export(options: argparse.Namespace) -> None:
    from aejax.inference import export, paths

    paths.check_free([], options.out, force=False)
    export.export(_load(options), options.run, options.out, options.license)


def _evaluate(options: argparse.Namespace) -> None:
    from aejax.data.preflight import preflight
    from aejax.inference import evaluate
    from aejax.reporting.table import results_table

    model = _load(options)
    corpus, results, unreadable = evaluate.evaluate(model, options.run, options.folder)
    rows = [dataclasses.asdict(row) for row in results]
    if options.json:
        summary = preflight(corpus)
        warnings = [*summary.warnings, *unreadable]
        left_out = {"left_out": summary.left_out, "warnings": warnings}
        print(json.dumps({"clips": len(corpus.clips), **left_out, "rows": rows}, indent=1))
        return
    minutes = float(corpus.clips.seconds().sum()) / 60
    clips = words.count(len(corpus.clips), "clip")
    print(f"{printable(corpus.title)}: {clips}, {minutes:.1f} minutes\n")
    print(results_table(rows, model.representation.unit, len(corpus.clips)))


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
