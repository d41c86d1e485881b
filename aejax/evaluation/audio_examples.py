"""Audio examples: test clips reconstructed by every codec, with spectrograms."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from aejax.data import audio_file
from aejax.data.corpus import Corpus
from aejax.data.loader import Window
from aejax.data.table import Clip
from aejax.evaluation.codecs import model_codec
from aejax.evaluation.evaluate import LatentCodec, analyse, apply, to_audio
from aejax.models import autoencoder
from aejax.prepare import Experiment
from aejax.reporting.examples import ARRAYS, FOLDER
from aejax.representations import EVAL_MEL_FLOOR_DB, Representation
from aejax.runtime import arrays, files
from aejax.runtime.errors import Interrupted, UserError

_MOST_SECONDS = 5.0
ORIGINAL = "original"


def choose(corpus: Corpus, count: int) -> list[int]:
    """Indices of ``count`` test clips, spread evenly over the split and its folders."""
    clips = corpus.clips.of_split("test")
    picked = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
    return clips[picked].tolist()


def _readable(experiment: Experiment) -> list[int]:
    """Indices of the readable clips among the chosen ones."""
    corpus, readable = experiment.corpus, []
    for clip in choose(corpus, experiment.config.evaluate.example_clips):
        try:
            corpus.read(clip, 0, 1)
            readable.append(clip)
        except audio_file.UnusableAudio as reason:
            name = corpus.clips.name(clip)
            experiment.warn_once(f"left out of the audio examples, {name}: {reason}")
    if not readable:
        raise UserError(f"no clip for the audio examples is readable below {corpus.title}")
    return readable


def write_audio_examples(
    experiment: Experiment, codecs: Sequence[LatentCodec]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Writes ``audio/*.wav`` into a run's directory.

    These are the first seconds of each clip: the original, then each codec's output. All versions
    of a clip share one gain, which avoids clipping.

    Args:
      experiment: the run's experiment.
      codecs: codecs in the order of the report.

    Returns:
      Metadata and arrays for the report, see `aejax.reporting.extras.Extras`.

    Raises:
      UserError: no clip is readable.
    """
    corpus, representation = experiment.corpus, experiment.representation
    reference_mel = experiment.eval_mel
    excerpts = _read_excerpts(experiment)
    clips, lengths, longest = excerpts.clips, excerpts.lengths, excerpts.longest
    sounds = {ORIGINAL: excerpts.audio}
    sounds |= {codec.name: _reconstruct(codec, excerpts, representation) for codec in codecs}
    spectrograms = {
        name: np.asarray(analyse(jnp.asarray(sound), representation=reference_mel))
        for name, sound in sounds.items()
    }
    sound_names = _write_sounds(
        experiment.workdir.path / "audio", clips, lengths, sounds, corpus.sample_rate
    )
    levels, top_db = _levels(np.stack(list(spectrograms.values()), axis=1))
    about = {
        "sample_rate": corpus.sample_rate,
        "frame_rate": reference_mel.frame_rate,
        "floor_db": EVAL_MEL_FLOOR_DB,
        "versions": list(sounds),
        "clips": [
            {"name": clip.name, "labels": clip.labels, "files": clip_files}
            for clip, clip_files in zip(clips, sound_names, strict=True)
        ],
    }
    frames = [int(reference_mel.frames(min(length, longest))) for length in lengths]
    shown = np.clip(frames, 1, levels.shape[2])
    return about, {"spectrograms": levels, "top_db": top_db, "frames": shown}


class Example(NamedTuple):
    """Versions of one clip, shown side by side.

    Attributes:
      name: name of the source clip.
      labels: labels of the clip, and how it was processed.
      versions: float32 ``[samples]`` by name; the first is the source.
    """

    name: str
    labels: dict[str, str]
    versions: dict[str, np.ndarray]


def write_examples(
    run: Path, eval_mel: Representation, sample_rate: int, examples: Sequence[Example]
) -> None:
    """Replaces a run's ``examples/``, which ``aejax report`` shows.

    Args:
      run: the run's directory.
      eval_mel: reference mel for the spectrograms, see `aejax.prepare.eval_mel`.
      sample_rate: Hz.
      examples: to write.
    """
    sounds = [sound for example in examples for sound in example.versions.values()]
    longest = max(map(len, sounds))
    frames = max(eval_mel.frames(longest), eval_mel.fewest_frames)
    padded = np.zeros((len(sounds), eval_mel.samples(frames)), np.float32)
    for row, sound in zip(padded, sounds, strict=True):
        row[: len(sound)] = sound[: len(row)]
    powers = np.asarray(analyse(jnp.asarray(padded), representation=eval_mel))
    levels, listed, offset = [], [], 0
    with files.atomic_folder(run / FOLDER) as beside:
        for number, example in enumerate(examples):
            spectrograms = powers[offset : offset + len(example.versions)]
            offset += len(spectrograms)
            level, top_db = _levels(spectrograms[None])
            levels.append(level[0])
            # Numbered, since `_plain` may make two names equal.
            names = [
                f"{number + 1}_{count + 1}_{_plain(version)}.wav"
                for count, version in enumerate(example.versions)
            ]
            _write_versions(beside, names, example.versions.values(), sample_rate)
            about: dict[str, Any] = {"name": example.name, "labels": example.labels}
            about |= {"versions": list(example.versions), "files": names}
            listed.append(about | {"top_db": float(top_db[0])})
        shown = [min(max(1, int(eval_mel.frames(len(sound)))), frames) for sound in sounds]
        about = {"sample_rate": sample_rate, "floor_db": EVAL_MEL_FLOOR_DB, "clips": listed}
        content = {"spectrograms": np.concatenate(levels), "frames": np.asarray(shown)}
        arrays.save(beside / ARRAYS, about, content)


class _Excerpts(NamedTuple):
    """The first seconds of the example clips.

    Attributes:
      clips: the clips.
      lengths: samples of each whole clip.
      longest: samples of the longest excerpt.
      audio: ``[clips, samples, *channels]``, short clips padded with silence.
      noisy_audio: the same with noise; None unless the task is denoising.
      speaker: speaker of each clip; None for a model without speakers.
    """

    clips: list[Clip]
    lengths: list[int]
    longest: int
    audio: np.ndarray
    noisy_audio: np.ndarray | None
    speaker: np.ndarray | None


def _read_excerpts(experiment: Experiment) -> _Excerpts:
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
    noisy_audio = _with_noise(experiment, chosen, np.asarray(lengths), audio)
    speakers = experiment.speaker_of
    speaker = None if speakers is None else speakers[chosen]
    return _Excerpts(clips, lengths, longest, audio, noisy_audio, speaker)


def _with_noise(
    experiment: Experiment, chosen: Sequence[int], lengths: np.ndarray, audio: np.ndarray
) -> np.ndarray | None:
    """The excerpts with noise; None unless the task is denoising."""
    if experiment.add_noise is None:
        return None
    batch = {
        "audio": jnp.asarray(audio),
        "length": jnp.asarray(np.minimum(lengths, audio.shape[1]), jnp.int32),
        "clip": jnp.asarray(chosen, jnp.int32),
        "start": jnp.zeros(len(chosen), jnp.uint32),
    }
    noise = experiment.test_noise("test", audio.shape[1])
    if noise is not None:
        rows = [noise(Window(clip, 0))[0] for clip in chosen]
        batch["noise"] = jnp.asarray(np.stack(rows))
    return np.asarray(experiment.add_noise(batch))


def _reconstruct(
    codec: LatentCodec, excerpts: _Excerpts, representation: Representation
) -> np.ndarray:
    """A codec's output audio; its input is the noisy audio, if there is any."""
    noisy_audio, speaker = excerpts.noisy_audio, excerpts.speaker
    encoder_input = jnp.asarray(excerpts.audio if noisy_audio is None else noisy_audio)
    features = analyse(encoder_input, representation=representation)
    latents = apply(codec.variables, features, function=codec.encode)
    output = codec.decoded(latents, None if speaker is None else jnp.asarray(speaker))
    masked = None if noisy_audio is None else encoder_input
    return np.asarray(to_audio(masked, output, representation))


class Preview:
    """Reconstructions of the example clips during training.

    Args:
      experiment: experiment with the clips.
    """

    def __init__(self, experiment: Experiment):
        self._experiment = experiment
        self._excerpts = _read_excerpts(experiment)

    def __call__(self, codec: LatentCodec) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """For each clip: number and name; output audio ``[samples, channels]`` from -1 to 1; and an
        image, uint8 ``[bins, frames]``, with the spectrograms of original and output side by side.
        """
        experiment, excerpts = self._experiment, self._excerpts
        clips, lengths, longest = excerpts.clips, excerpts.lengths, excerpts.longest
        sounds = _reconstruct(codec, excerpts, experiment.representation)
        # Silence after divergence.
        sounds = np.nan_to_num(sounds, nan=0.0, posinf=0.0, neginf=0.0)
        both = [
            np.asarray(analyse(sound, representation=experiment.eval_mel))
            for sound in (jnp.asarray(excerpts.audio), jnp.asarray(sounds))
        ]
        levels, _ = _levels(np.stack(both, axis=1))
        shown = []
        for index, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
            samples = min(length, longest, sounds.shape[1])
            sound = sounds[index, :samples].reshape(samples, -1)
            frames = max(int(experiment.eval_mel.frames(samples)), 1)
            image = np.concatenate(list(levels[index, :, :frames]), axis=0).T[::-1]
            name = f"{index + 1}_{_plain(Path(clip.name).stem)}"
            shown.append((name, sound / max(1.0, float(np.abs(sound).max())), image))
        return shown


def _levels(spectrograms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectrograms as uint8, from `EVAL_MEL_FLOOR_DB` at 0 to a clip's maximum at 255; and the
    maxima in dB.

    Args:
      spectrograms: power in dB, ``[clips, versions, frames, bins]``.
    """
    # The maximum of the original, so that one loud output does not darken the others.
    top = np.maximum(spectrograms[:, 0].max(axis=(1, 2)), EVAL_MEL_FLOOR_DB + 20)
    scaled = (spectrograms - EVAL_MEL_FLOOR_DB) / (top - EVAL_MEL_FLOOR_DB)[:, None, None, None]
    return np.clip(255 * scaled, 0, 255).round().astype(np.uint8), top.astype(np.float32)


def _write_sounds(
    folder: Path,
    clips: Sequence[Clip],
    lengths: Sequence[int],
    sounds: dict[str, np.ndarray],
    sample_rate: int,
) -> list[list[str]]:
    """Writes the sounds; returns the file names of each clip, by version."""
    names = []
    with files.atomic_folder(folder) as beside:
        for row, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
            stem = f"{row + 1}_{_plain(Path(clip.name).stem)}"
            names.append([f"{stem}_{_plain(version)}.wav" for version in sounds])
            versions = [sound[row, :length] for sound in sounds.values()]
            _write_versions(beside, names[-1], versions, sample_rate)
    return names


def _write_versions(
    folder: Path, names: Sequence[str], sounds: Collection[np.ndarray], sample_rate: int
) -> None:
    """Writes all versions of a clip with one gain, which avoids clipping."""
    peak = max(1.0, *(float(np.abs(sound).max()) for sound in sounds))
    for name, sound in zip(names, sounds, strict=True):
        audio_file.write(folder / name, sound / peak, sample_rate)


def _plain(name: str) -> str:
    """``name`` as a file name that is valid on any system."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "_" for c in name)[:60]


# Most previews in one run.
_MOST_PREVIEWS = 20


def preview(
    experiment: Experiment, model: autoencoder.Autoencoder | None = None
) -> Callable[[Any, Any], None]:
    """A function of a training state and a log that logs audio examples."""
    try:
        show = Preview(experiment)
    except Interrupted:
        raise
    except UserError:  # no clip is readable: train without previews
        return lambda state, log: None
    options, rate = experiment.config.train, experiment.corpus.sample_rate
    validations = -(-options.steps // options.validate_every)
    every = max(-(-validations // _MOST_PREVIEWS) * options.validate_every, 1)

    def write_preview(state: Any, log: Any) -> None:
        step = int(state.step)
        if step != options.steps and step % every:
            return
        codec = model_codec(experiment.config, model or experiment.model, state.variables, None)
        for name, audio, image in show(codec):
            log.sound(f"output/{name}", step, audio, rate)
            log.picture(f"original_and_output/{name}", step, image)

    return write_preview
