"""A few test clips, as every codec gives them back: sound files and one picture."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from aejax.bars import warn
from aejax.data import audio_file
from aejax.data.corpus import Corpus
from aejax.data.table import Clip
from aejax.errors import UserError
from aejax.evaluation.evaluate import Codec, analyse, apply, synthesise
from aejax.reporting.figure import draw_run
from aejax.representation import YARDSTICK_FLOOR_DB, Representation

_MOST_SECONDS = 5.0
ORIGINAL = "original"


def choose(corpus: Corpus, count: int) -> list[int]:
    """Indices of test clips spread evenly over the split, so over folders too."""
    clips = corpus.clips.of_split("test")
    picked = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    return clips[picked].tolist()


def _readable(corpus: Corpus, clips: Sequence[int]) -> list[int]:
    """Those that are still there."""
    found = []
    for clip in clips:
        try:
            corpus.read(clip, 0, 1)
            found.append(clip)
        except audio_file.UnusableAudio as reason:
            warn(f"not among what there is to hear, {corpus.clips.name(clip)}: {reason}")
    if not found:
        raise UserError(f"no clip to hear can be read any more below {corpus.title}")
    return found


def write_listening(
    workdir: Path,
    *,
    corpus: Corpus,
    representation: Representation,
    downsampling: int,
    yardstick: Representation,
    codecs: Sequence[Codec],
    count: int,
    curves: Mapping[str, Sequence[tuple[int, float]]],
) -> None:
    """Writes ``audio/*.wav`` and ``report.png`` into a run's directory.

    The first seconds of each clip, in all versions: the original, then each codec's. All versions
    of a clip are scaled alike, so that none clips.

    Args:
      workdir: the run's directory.
      corpus, representation, downsampling: of the run.
      codecs: in the order of the picture's columns.
      count: how many clips.
      yardstick: log-mel spectrogram that is drawn.
      curves: (step, RMSE of features) pairs by name, drawn below.
    """
    chosen = _readable(corpus, choose(corpus, count))
    clips = [corpus.clips[index] for index in chosen]
    lengths = [clip.samples for clip in clips]
    longest = min(max(lengths), int(_MOST_SECONDS * corpus.sample_rate))
    frames = max(int(representation.frames(longest)), representation.fewest_frames)
    frames = -(-frames // downsampling) * downsampling
    audio = np.stack([corpus.read(clip, 0, representation.samples(frames)) for clip in chosen])
    features = analyse(jnp.asarray(audio), representation=representation)
    sounds = {ORIGINAL: audio}
    for codec in codecs:
        latents = apply(codec.variables, features, function=codec.encode)
        output = apply(codec.variables, latents, function=codec.decode)
        sounds[codec.name] = np.asarray(synthesise(output, representation=representation))
    pictures = {
        name: np.asarray(analyse(jnp.asarray(sound), representation=yardstick))
        for name, sound in sounds.items()
    }
    _write_sounds(workdir / "audio", clips, lengths, sounds, corpus.sample_rate)
    shown = [int(yardstick.frames(min(length, longest))) for length in lengths]
    draw_run(
        workdir / "report.png",
        spectrograms=[
            {version: features[row, : shown[row]] for version, features in pictures.items()}
            for row in range(len(clips))
        ],
        titles=[clip.name for clip in clips],
        frame_rate=yardstick.frame_rate,
        floor_db=YARDSTICK_FLOOR_DB,
        curves=curves,
        unit=representation.unit,
    )


def _write_sounds(
    folder: Path,
    clips: Sequence[Clip],
    lengths: Sequence[int],
    sounds: dict[str, np.ndarray],
    sample_rate: int,
) -> None:
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for row, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
        versions = {version: sound[row, :length] for version, sound in sounds.items()}
        peak = max(1.0, *(float(np.abs(sound).max()) for sound in versions.values()))
        stem = f"{row + 1}_{_plain(Path(clip.name).stem)}"
        for version, sound in versions.items():
            path = beside / f"{stem}_{_plain(version)}.wav"
            audio_file.write(path, sound / peak, sample_rate)
    shutil.rmtree(folder, ignore_errors=True)
    beside.replace(folder)


def _plain(name: str) -> str:
    """A name that is fit for a file on any system."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "_" for c in name)[:60]
