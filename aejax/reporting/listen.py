"""What there is to hear and see of clips: which sounds, from which runs, once each."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from aejax.errors import UserError
from aejax.reporting import curve, sound
from aejax.reporting.curve import Line
from aejax.reporting.extras import Extras
from aejax.reporting.run_files import PCA, Run
from aejax.runtime import files

ORIGINAL = "original"
_MOST_FILE = 64 << 20
# More sounds than that are not looked at: there is no room for them.
MOST_SOUNDS = 1600


@dataclasses.dataclass(frozen=True)
class Version:
    """One sound of a clip.

    Attributes:
      label: what it is.
      audio: float32 ``[samples]`` or ``[samples, channels]``, at the loudness of the others.
      picture: uint8 ``[frames, bins]``, from ``floor_db`` at 0 to ``top_db`` at 255.
    """

    label: str
    audio: np.ndarray
    picture: np.ndarray


@dataclasses.dataclass(frozen=True)
class HeardClip:
    """All versions of one clip.

    Attributes:
      name: of its file.
      corpus: label of its corpus.
      labels: what is known about it.
      sample_rate: Hz.
      seconds: of what is heard.
      floor_db, top_db: of its pictures.
      versions: the original first.
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
class _Use:
    """A clip of one run: the run's lines of the curve, its corpus, and the clip's place in it."""

    run: Run
    line: str
    pca: str
    corpus: str
    place: int


def heard_clips(runs: Sequence[Run], lines: Sequence[Line]) -> tuple[list[HeardClip], list[str]]:
    """Every clip in all versions, at one loudness; and what is missing, in words.

    Of runs that differ by seed alone the one with the lowest is heard. The original is there once
    for all runs of a corpus, PCA once for all runs that share it.

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
    silent = [runs[index].path.name for index, _ in chosen if runs[index].extras is None]
    if silent:
        notes.append(f"No report.npz, and so nothing to hear, of: {', '.join(silent)}.")
    listed = [(index, line) for index, line in chosen if runs[index].extras is not None]
    most, sounds = 0, 0
    for index, _ in listed:
        extras = _extras(runs[index])
        sounds += len(extras.clips) * len(extras.versions)
        most += sounds <= MOST_SOUNDS
    if most < len(listed):
        notes.append(f"To keep this page small, only {most} of {len(listed)} models are heard.")
    corpora = curve.corpus_labels(runs)
    pca = {
        index: line.label
        for line in lines
        if line.kind == PCA
        for point in line.points
        for index in point.runs
    }
    groups: dict[Any, dict[str, list[_Use]]] = {}
    for index, line in listed[:most]:
        clips = groups.setdefault(curve.sounds_key(runs[index]), {})
        for place, clip in enumerate(_extras(runs[index]).clips):
            found = clips.setdefault(clip["name"], [])
            own = pca.get(index, PCA)
            found.append(_Use(runs[index], line.label, own, corpora[index], place))
    return [_clip(uses) for clips in groups.values() for uses in clips.values()], notes


def _extras(run: Run) -> Extras:
    assert run.extras is not None
    return run.extras


def _clip(uses: Sequence[_Use]) -> HeardClip:
    found: dict[Any, tuple[str, np.ndarray, np.ndarray]] = {}
    for use in uses:
        extras, place = _extras(use.run), use.place
        clip = extras.clips[place]
        frames = int(extras.frames[place])
        for version, (name, file) in enumerate(zip(extras.versions, clip["files"], strict=True)):
            key, label = _version(use, name)
            if key not in found:
                audio = read_sound(use.run.path, "audio", file, extras.sample_rate)
                picture = extras.spectrograms[place, version, :frames]
                found[key] = (label, audio, picture)
    order = {ORIGINAL: 0, curve.CEILING: 1, curve.NOISY: 1, PCA: 2}
    keys = sorted(found, key=lambda key: order.get(key[0], 3))
    first, place = _extras(uses[0].run), uses[0].place
    rate = first.sample_rate
    equal = sound.equally_loud([found[key][1] for key in keys], rate)
    return HeardClip(
        name=first.clips[place]["name"],
        corpus=uses[0].corpus,
        labels=first.clips[place]["labels"],
        sample_rate=rate,
        seconds=len(equal[0]) / rate,
        floor_db=float(first.floor_db),
        top_db=float(first.top_db[place]),
        versions=[
            Version(found[key][0], audio.astype(np.float32), found[key][2])
            for key, audio in zip(keys, equal, strict=True)
        ],
    )


def _version(use: _Use, name: str) -> tuple[tuple[str, Any], str]:
    """What it is the same as, and its label."""
    if name == ORIGINAL:
        return (ORIGINAL, None), ORIGINAL
    rates = {row["name"]: row for row in use.run.rows}.get(name, {})
    if name in (curve.CEILING, curve.NOISY):
        rooms = (
            ("representation.", "augment.noise") if name == curve.NOISY else ("representation.",)
        )
        settings = {k: v for k, v in use.run.config.items() if k.startswith(rooms)}
        return (name, repr(sorted(settings.items()))), name
    if name == PCA:
        return (PCA, curve.pca_key(use.run)), f"{use.pca}, {rate_words(rates)}"
    return ("model", id(use.run)), f"{use.line}, {rate_words(rates)}"


def rate_words(row: Any) -> str:
    """``62.5 floats/s`` or ``62.5 floats/s, 0.19 kbit/s``."""
    floats, bits = row.get("latent_floats_per_second"), row.get("bits_per_second")
    words = [] if floats is None else [f"{floats:.6g} floats/s"]
    words += [] if bits is None else [f"{bits / 1000:.3g} kbit/s"]
    return ", ".join(words)


def read_sound(run: Path, folder: str, name: str, sample_rate: int) -> np.ndarray:
    """A sound file of a run, float32 ``[samples]`` or ``[samples, channels]``.

    Raises:
      UserError: it is damaged, too large, a link, or of another rate.
    """
    path = run / folder / name
    if run.resolve() not in path.resolve().parents:
        raise UserError(f"{path} leads out of the run's directory")
    with files.open_regular(path, _MOST_FILE) as file:
        try:
            with soundfile.SoundFile(os.dup(file.fileno()), closefd=True) as opened:
                if opened.samplerate != sample_rate or not 1 <= opened.channels <= 2:
                    raise UserError(f"{path} is not at {sample_rate} Hz, as its run is")
                # No longer than the file: 8 bits a sample are the fewest that WAV has here.
                most = _MOST_FILE // opened.channels
                return opened.read(min(opened.frames, most), dtype="float32")
        except soundfile.SoundFileError as error:
            raise UserError(f"{path} is damaged ({error})") from None
