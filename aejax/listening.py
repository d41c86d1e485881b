"""A few test clips, as every codec gives them back: sound files, and spectrograms of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from aejax.data import audio_file
from aejax.data.corpus import Corpus
from aejax.data.loader import Window
from aejax.data.table import Clip
from aejax.errors import UserError
from aejax.evaluation.evaluate import Codec, analyse, apply, in_sound
from aejax.prepare import Experiment
from aejax.reporting.examples import ARRAYS, FOLDER
from aejax.representation import YARDSTICK_FLOOR_DB, Representation
from aejax.runtime import arrays, files

_MOST_SECONDS = 5.0
ORIGINAL = "original"


def choose(corpus: Corpus, count: int) -> list[int]:
    """Indices of test clips spread evenly over the split, so over folders too."""
    clips = corpus.clips.of_split("test")
    picked = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    return clips[picked].tolist()


def _readable(experiment: Experiment) -> list[int]:
    """The chosen ones that are still there."""
    corpus, found = experiment.corpus, []
    for clip in choose(corpus, experiment.config.evaluate.listen_clips):
        try:
            corpus.read(clip, 0, 1)
            found.append(clip)
        except audio_file.UnusableAudio as reason:
            name = corpus.clips.name(clip)
            experiment.warn_once(f"not among what there is to hear, {name}: {reason}")
    if not found:
        raise UserError(f"no clip to hear can be read any more below {corpus.title}")
    return found


def write_listening(
    experiment: Experiment, codecs: Sequence[Codec]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Writes ``audio/*.wav`` into a run's directory.

    The first seconds of each clip, in all versions: the original, then each codec's. All versions
    of a clip are scaled alike, so that none clips.

    Args:
      experiment: of the run.
      codecs: in the order they are shown in.

    Returns:
      What the report needs of them, see `aejax.reporting.extras.Extras`: facts, and arrays.

    Raises:
      UserError: no clip can be read any more.
    """
    corpus, representation = experiment.corpus, experiment.representation
    yardstick = experiment.yardstick
    read = _read(experiment)
    clips, lengths, longest = read.clips, read.lengths, read.longest
    sounds = {ORIGINAL: read.audio}
    sounds |= {codec.name: _through(codec, read, representation) for codec in codecs}
    pictures = {
        name: np.asarray(analyse(jnp.asarray(sound), representation=yardstick))
        for name, sound in sounds.items()
    }
    sound_names = _write_sounds(
        experiment.workdir.path / "audio", clips, lengths, sounds, corpus.sample_rate
    )
    levels, top_db = _levels(np.stack(list(pictures.values()), axis=1))
    about = {
        "sample_rate": corpus.sample_rate,
        "frame_rate": yardstick.frame_rate,
        "floor_db": YARDSTICK_FLOOR_DB,
        "versions": list(sounds),
        "clips": [
            {"name": clip.name, "labels": clip.labels, "files": own}
            for clip, own in zip(clips, sound_names, strict=True)
        ],
    }
    shown = [int(yardstick.frames(min(length, longest))) for length in lengths]
    counted = np.clip(shown, 1, levels.shape[2])
    return about, {"spectrograms": levels, "top_db": top_db, "frames": counted}


class Example(NamedTuple):
    """Sounds to be heard side by side.

    Attributes:
      name: of the clip that they come from.
      labels: what is known about it, and what was done.
      versions: each by what it is, float32 ``[samples]``; the first is what the others come from.
    """

    name: str
    labels: dict[str, str]
    versions: dict[str, np.ndarray]


def write_examples(
    run: Path, yardstick: Representation, sample_rate: int, examples: Sequence[Example]
) -> None:
    """Writes what a run's model was used for into ``examples/`` of its directory, in place of what
    is there, for `aejax report` to show.

    Args:
      run: its directory.
      yardstick: that pictures are of, see `aejax.prepare.yardstick`.
      sample_rate: Hz.
      examples: what to write.
    """
    sounds = [sound for example in examples for sound in example.versions.values()]
    longest = max(map(len, sounds))
    frames = max(yardstick.frames(longest), yardstick.fewest_frames)
    padded = np.zeros((len(sounds), yardstick.samples(frames)), np.float32)
    for row, sound in zip(padded, sounds, strict=True):
        row[: len(sound)] = sound[: len(row)]
    powers = np.asarray(analyse(jnp.asarray(padded), representation=yardstick))
    levels, listed, place = [], [], 0
    with files.replacing_folder(run / FOLDER) as beside:
        for number, example in enumerate(examples):
            own = powers[place : place + len(example.versions)]
            place += len(own)
            level, top_db = _levels(own[None])
            levels.append(level[0])
            # Numbered, as two names may be the same once they are plain.
            names = [
                f"{number + 1}_{count + 1}_{_plain(version)}.wav"
                for count, version in enumerate(example.versions)
            ]
            peak = max(1.0, *(float(np.abs(sound).max()) for sound in example.versions.values()))
            for name, sound in zip(names, example.versions.values(), strict=True):
                audio_file.write(beside / name, sound / peak, sample_rate)
            about: dict[str, Any] = {"name": example.name, "labels": example.labels}
            about |= {"versions": list(example.versions), "files": names}
            listed.append(about | {"top_db": float(top_db[0])})
        shown = [min(max(1, int(yardstick.frames(len(sound)))), frames) for sound in sounds]
        about = {"sample_rate": sample_rate, "floor_db": YARDSTICK_FLOOR_DB, "clips": listed}
        kept = {"spectrograms": np.concatenate(levels), "frames": np.asarray(shown)}
        arrays.save(beside / ARRAYS, about, kept)


class _Read(NamedTuple):
    """Clips to hear, and how long they are, whole; the longest that is heard of one, in samples;
    and their beginnings, with silence behind the shorter ones, ``[clips, samples, *channels]``; the
    same as a model hears them, where there is noise for it to take away; and who speaks in each,
    where the model is told."""

    clips: list[Clip]
    lengths: list[int]
    longest: int
    audio: np.ndarray
    heard: np.ndarray | None
    speaker: np.ndarray | None


def _read(experiment: Experiment) -> _Read:
    corpus, representation = experiment.corpus, experiment.representation
    downsampling = experiment.downsampling
    chosen = _readable(experiment)
    clips = [corpus.clips[index] for index in chosen]
    lengths = [clip.samples for clip in clips]
    longest = min(max(lengths), int(_MOST_SECONDS * corpus.sample_rate))
    frames = max(int(representation.frames(longest)), representation.fewest_frames)
    frames = -(-frames // downsampling) * downsampling
    samples = representation.samples(frames)
    audio = np.stack([corpus.read(clip, 0, samples) for clip in chosen])
    heard = _heard(experiment, chosen, np.asarray(lengths), audio)
    known = experiment.speaker_of
    return _Read(clips, lengths, longest, audio, heard, None if known is None else known[chosen])


def _heard(
    experiment: Experiment, chosen: Sequence[int], lengths: np.ndarray, audio: np.ndarray
) -> np.ndarray | None:
    """The beginnings of clips with noise, if they are to be heard so."""
    if experiment.hear is None:
        return None
    given = {
        "audio": jnp.asarray(audio),
        "length": jnp.asarray(np.minimum(lengths, audio.shape[1]), jnp.int32),
        "clip": jnp.asarray(chosen, jnp.int32),
        "start": jnp.zeros(len(chosen), jnp.uint32),
    }
    noise = experiment.test_noise("test", audio.shape[1])
    if noise is not None:
        rows = [noise(Window(clip, 0))[0] for clip in chosen]
        given["noise"] = jnp.asarray(np.stack(rows))
    return np.asarray(experiment.hear(given))


def _through(codec: Codec, read: _Read, representation: Representation) -> np.ndarray:
    """What a codec gives back of audio, or of what is heard instead of it, as sound."""
    heard, speaker = read.heard, read.speaker
    seen = jnp.asarray(read.audio if heard is None else heard)
    features = analyse(seen, representation=representation)
    latents = apply(codec.variables, features, function=codec.encode)
    output = codec.decoded(latents, None if speaker is None else jnp.asarray(speaker))
    return np.asarray(in_sound(None if heard is None else seen, output, representation))


class Preview:
    """The same clips while it trains: what the model makes of them by now.

    Args:
      experiment: whose clips they are.
    """

    def __init__(self, experiment: Experiment):
        self._experiment = experiment
        self._read = _read(experiment)

    def __call__(self, codec: Codec) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Of each clip its number and name, what comes back ``[samples, channels]``, below 1, and a
        picture, uint8 ``[bins, frames]``: the original's spectrogram, and that of what comes
        back beside it."""
        experiment, read = self._experiment, self._read
        clips, lengths, longest = read.clips, read.lengths, read.longest
        sounds = _through(codec, read, experiment.representation)
        # Of a training that comes to nothing there is silence to hear.
        sounds = np.nan_to_num(sounds, nan=0.0, posinf=0.0, neginf=0.0)
        both = [
            np.asarray(analyse(sound, representation=experiment.yardstick))
            for sound in (jnp.asarray(read.audio), jnp.asarray(sounds))
        ]
        levels, _ = _levels(np.stack(both, axis=1))
        shown = []
        for place, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
            samples = min(length, longest, sounds.shape[1])
            sound = sounds[place, :samples].reshape(samples, -1)
            frames = max(int(experiment.yardstick.frames(samples)), 1)
            picture = np.concatenate(list(levels[place, :, :frames]), axis=0).T[::-1]
            name = f"{place + 1}_{_plain(Path(clip.name).stem)}"
            shown.append((name, sound / max(1.0, float(np.abs(sound).max())), picture))
        return shown


def _levels(spectrograms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From `YARDSTICK_FLOOR_DB` at 0 to a clip's loudest at 255, uint8; and those loudest, dB.

    Args:
      spectrograms: of power in dB ``[clips, versions, frames, bins]``.
    """
    # The original's: what a codec adds above it is no reason to darken all the others.
    top = np.maximum(spectrograms[:, 0].max(axis=(1, 2)), YARDSTICK_FLOOR_DB + 20)
    scaled = (spectrograms - YARDSTICK_FLOOR_DB) / (top - YARDSTICK_FLOOR_DB)[:, None, None, None]
    return np.clip(255 * scaled, 0, 255).round().astype(np.uint8), top.astype(np.float32)


def _write_sounds(
    folder: Path,
    clips: Sequence[Clip],
    lengths: Sequence[int],
    sounds: dict[str, np.ndarray],
    sample_rate: int,
) -> list[list[str]]:
    """Returns the names of each clip's files, by version."""
    names = []
    with files.replacing_folder(folder) as beside:
        for row, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
            versions = {version: sound[row, :length] for version, sound in sounds.items()}
            peak = max(1.0, *(float(np.abs(sound).max()) for sound in versions.values()))
            stem = f"{row + 1}_{_plain(Path(clip.name).stem)}"
            names.append([f"{stem}_{_plain(version)}.wav" for version in versions])
            for name, sound in zip(names[-1], versions.values(), strict=True):
                audio_file.write(beside / name, sound / peak, sample_rate)
    return names


def _plain(name: str) -> str:
    """A name that is fit for a file on any system."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "_" for c in name)[:60]
