"""Audio and spectrograms of clips for the page, each once."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from aejax.reporting import curve, sound
from aejax.reporting.curve import Line
from aejax.reporting.extras import Extras
from aejax.reporting.run_files import PCA, Run
from aejax.runtime import files
from aejax.runtime.errors import UserError

ORIGINAL = "original"
_MOST_FILE = 64 << 20
MOST_SOUNDS = 1600  # more do not fit on the page


@dataclasses.dataclass(frozen=True)
class Version:
    """One version of a clip: its sound and its spectrogram.

    Attributes:
      label: its name on the page.
      audio: float32 ``[samples]`` or ``[samples, channels]``, as loud as the other versions.
      picture: spectrogram, uint8 ``[frames, bins]``: 0 is ``floor_db``, 255 is ``top_db``.
      column: its name among versions of one rate, such as "PCA"; its label by default.
      rate: latent floats and bits per second of the model that it is compared with, 0 for none.
    """

    label: str
    audio: np.ndarray
    picture: np.ndarray
    column: str = ""
    rate: tuple[float, float] = (0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class AudioClip:
    """A clip in all its versions.

    Attributes:
      name: name of its file.
      corpus: label of its corpus.
      labels: its labels by name.
      sample_rate: Hz.
      seconds: duration of the sounds.
      floor_db, top_db: range of its spectrograms, dB.
      versions: its versions, the original first.
    """

    name: str
    corpus: str
    labels: dict[str, Any]
    sample_rate: int
    seconds: float
    floor_db: float
    top_db: float
    versions: list[Version]


@dataclasses.dataclass(frozen=True)
class _RunClip:
    """A clip of one run.

    Attributes:
      run: the run.
      line, pca: labels of the lines of its model and its PCA.
      corpus: label of its corpus.
      index: of the clip in the run's extras.
    """

    run: Run
    line: str
    pca: str
    corpus: str
    index: int


def collect_clips(runs: Sequence[Run], lines: Sequence[Line]) -> tuple[list[AudioClip], list[str]]:
    """Every clip in all versions, equally loud; and notes about runs that are missing.

    Of runs that differ only by seed, the lowest seed is used. The original appears once for all
    runs of a corpus, PCA once for all runs that share it.

    Raises:
      UserError: a sound file is damaged, too large, or a link.
    """
    chosen = [
        (point.runs[0], line)
        for line in lines
        if line.kind == "model"
        for point in line.points
        if point.rows[0]["name"] == runs[point.runs[0]].name
    ]
    notes = []
    without_extras = [runs[index].path.name for index, _ in chosen if runs[index].extras is None]
    if without_extras:
        notes.append(f"No audio, because report.npz is missing: {', '.join(without_extras)}.")
    available = [(index, line) for index, line in chosen if runs[index].extras is not None]
    most, sounds = 0, 0
    for index, _ in available:
        extras = _extras(runs[index])
        sounds += len(extras.clips) * len(extras.versions)
        most += sounds <= MOST_SOUNDS
    if most < len(available):
        notes.append(f"To keep this page small, only {most} of {len(available)} models have audio.")
    corpora = curve.corpus_labels(runs)
    pca = {
        index: line.label
        for line in lines
        for point in line.points
        if point.rows[0]["name"] == PCA
        for index in point.runs
    }
    groups: dict[Any, dict[str, list[_RunClip]]] = {}
    for index, line in available[:most]:
        clips = groups.setdefault(curve.sounds_key(runs[index]), {})
        for number, clip in enumerate(_extras(runs[index]).clips):
            run_clips = clips.setdefault(clip["name"], [])
            pca_label = pca.get(index, PCA)
            run_clips.append(_RunClip(runs[index], line.label, pca_label, corpora[index], number))
    return [_clip(run_clips) for clips in groups.values() for run_clips in clips.values()], notes


def _extras(run: Run) -> Extras:
    assert run.extras is not None
    return run.extras


def _clip(run_clips: Sequence[_RunClip]) -> AudioClip:
    versions: dict[Any, Version] = {}
    for run_clip in run_clips:
        extras, index = _extras(run_clip.run), run_clip.index
        clip = extras.clips[index]
        frames = int(extras.frames[index])
        for number, (name, file) in enumerate(zip(extras.versions, clip["files"], strict=True)):
            key, label, column = _version(run_clip, name)
            if key not in versions:
                audio = read_sound(run_clip.run.path, "audio", file, extras.sample_rate)
                picture = extras.spectrograms[index, number, :frames]
                of_model = _rate(run_clip.run, run_clip.run.name)
                versions[key] = Version(label, audio, picture, column, of_model)
    order = {ORIGINAL: 0, curve.CEILING: 1, curve.NOISY: 1, PCA: 2}
    keys = sorted(versions, key=lambda key: order.get(key[0], 3))
    first, index = _extras(run_clips[0].run), run_clips[0].index
    rate = first.sample_rate
    equal = sound.equally_loud([versions[key].audio for key in keys], rate)
    return AudioClip(
        name=first.clips[index]["name"],
        corpus=run_clips[0].corpus,
        labels=first.clips[index]["labels"],
        sample_rate=rate,
        seconds=len(equal[0]) / rate,
        floor_db=float(first.floor_db),
        top_db=float(first.top_db[index]),
        versions=[
            dataclasses.replace(versions[key], audio=audio.astype(np.float32))
            for key, audio in zip(keys, equal, strict=True)
        ],
    )


def _version(run_clip: _RunClip, name: str) -> tuple[tuple[str, Any], str, str]:
    """A key that is equal for equal sounds, and the label and the column of a version."""
    if name == ORIGINAL:
        return (ORIGINAL, None), ORIGINAL, ORIGINAL
    if name in (curve.CEILING, curve.NOISY):
        prefixes = (
            ("representation.", "augment.noise") if name == curve.NOISY else ("representation.",)
        )
        settings = {k: v for k, v in run_clip.run.config.items() if k.startswith(prefixes)}
        return (name, repr(sorted(settings.items()))), name, name
    rate = rate_text(_rate(run_clip.run, name))
    if name == PCA:
        return (PCA, curve.pca_key(run_clip.run)), f"{run_clip.pca}, {rate}", run_clip.pca
    return ("model", id(run_clip.run)), f"{run_clip.line}, {rate}", run_clip.line


def _rate(run: Run, name: str) -> tuple[float, float]:
    """Latent floats and bits per second of a run's row, 0 for none."""
    row: dict[str, Any] = next((row for row in run.rows if row["name"] == name), {})
    return row.get("latent_floats_per_second") or 0.0, row.get("bits_per_second") or 0.0


def rate_text(rate: tuple[float, float]) -> str:
    """A rate as text: ``62.5 floats/s`` or ``62.5 floats/s, 0.19 kbit/s``."""
    floats, bits = rate
    words = [f"{floats:.6g} floats/s"] if floats else []
    words += [f"{bits / 1000:.3g} kbit/s"] if bits else []
    return ", ".join(words)


def read_sound(run: Path, folder: str, name: str, sample_rate: int) -> np.ndarray:
    """A sound file of a run, float32 ``[samples]`` or ``[samples, channels]``.

    Raises:
      UserError: it is damaged, too large, a link, or of another rate.
    """
    path = run / folder / name
    if run.resolve() not in path.resolve().parents:
        raise UserError(f"{path} is outside of the run's directory")
    with files.open_regular(path, _MOST_FILE) as file:
        try:
            with soundfile.SoundFile(os.dup(file.fileno()), closefd=True) as opened:
                if opened.samplerate != sample_rate or not 1 <= opened.channels <= 2:
                    raise UserError(f"{path} is not at {sample_rate} Hz, as its run is")
                # Bounded by the size of the file: WAV has at least 8 bits per sample here.
                most = _MOST_FILE // opened.channels
                return opened.read(min(opened.frames, most), dtype="float32")
        except soundfile.SoundFileError as error:
            raise UserError(f"{path} is damaged ({error})") from None
