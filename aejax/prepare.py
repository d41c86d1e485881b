"""Prepares an experiment: devices, corpus, representation and model; fits nothing."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from aejax import augmentations, corpora, losses, objective, representations
from aejax.augmentations import measuring
from aejax.data import loader, names
from aejax.data.corpus import Corpus, check_splits
from aejax.data.preflight import preflight, remarks, summary
from aejax.models import autoencoder
from aejax.representations import Representation
from aejax.runtime import processes, words
from aejax.runtime.devices import Devices
from aejax.runtime.errors import UserError, printable
from aejax.runtime.progress import warn
from aejax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An experiment, ready to be trained.

    Attributes:
      config: valid.
      workdir: the run's directory.
      devices: to run on.
      corpus: for training and evaluation.
      noise: corpus of recorded noise, or None; for denoising it is split like the corpus, otherwise
        all of it is for training.
      representation: of the audio.
      model: the autoencoder, without variables.
      excerpt: samples of a training excerpt, a whole number of blocks.
      command: shell command that repeats the run.
      speakers: names of the decoder's speakers, values of the label ``model.speaker_label``.
      speaker_of: int32 ``[clips]``, the speaker of each clip, from 1; 0 is unknown.
      warnings: lines of `warn_once`.
    """

    config: ConfigDict
    workdir: Workdir
    devices: Devices
    corpus: Corpus
    noise: Corpus | None
    representation: Representation
    model: autoencoder.Autoencoder
    excerpt: int
    command: str = ""
    speakers: tuple[str, ...] = ()
    speaker_of: np.ndarray | None = None
    warnings: list[str] = dataclasses.field(default_factory=list)

    @property
    def downsampling(self) -> int:
        """Frames in a block."""
        return self.config.model.downsampling

    @property
    def eval_mel(self) -> Representation:
        """The reference mel: log-mel spectrogram of the audio metric."""
        return eval_mel(self.config)

    @property
    def objective(self) -> objective.Objective:
        """The objective of ``config.loss``."""
        return objective.from_config(self.config, self.representation)

    def test_noise(self, split: str, length: int) -> loader.TestNoise | None:
        """Recorded noise for validation and testing, for denoising; otherwise None."""
        if self.noise is None or not self.denoises:
            return None
        return loader.TestNoise(self.noise, split, length)

    @property
    def augmentation(self) -> augmentations.Chain:
        """The augmentations of ``config.augment``."""
        return augmentations.from_config(self.config, self.excerpt)

    @property
    def noise_to_remove(self) -> augmentations.Noise | None:
        """The augmentation that adds noise, for denoising; otherwise None."""
        return augmentations.noise_of(self.config) if self.denoises else None

    @property
    def denoises(self) -> bool:
        """Whether the task is denoising."""
        return corpora.denoises(self.config)

    @property
    def add_noise(self) -> Callable[[dict[str, jax.Array]], jax.Array] | None:
        """See `noise_adder`."""
        return noise_adder(self.config)

    def latent_rate(self, latent_dim: int) -> float:
        """Latent floats per second at ``latent_dim`` floats per latent frame."""
        return self.representation.frame_rate / self.downsampling * latent_dim

    @property
    def workers(self) -> loader.Workers:
        """Readers of audio, in threads or processes."""
        data = self.config.data
        return loader.Workers(
            data.workers, data.worker_kind, functools.partial(self.warn_once, own=True)
        )

    def device_put(self, batch: Any) -> dict[str, jax.Array]:
        """A host batch on the devices, with its speakers."""
        return self.devices.device_put(self.with_speakers(batch))

    def put_global(self, batch: Any) -> dict[str, jax.Array]:
        """A global batch on all devices, with its speakers, from this process's rows."""
        return self.devices.put_global(self.with_speakers(batch))

    def with_speakers(self, batch: Any) -> Any:
        """A host batch with its speakers, for a model that has any."""
        if self.speaker_of is None:
            return batch
        speaker = np.where(batch["clip"] >= 0, self.speaker_of[batch["clip"]], 0)
        return {**batch, "speaker": speaker.astype(np.int32)}

    def warn_once(self, message: str, *, own: bool = False) -> None:
        """Warns, once per run; see `aejax.runtime.progress.warn`."""
        if message not in self.warnings:
            self.warnings.append(message)
            warn(message, own=own)

    def batches(self, split: str, most: int | None = None, *, own: bool = False) -> loader.Batches:
        """Batches of a split, or of ``most`` windows spread over it; for denoising, with noise.

        Args:
          split: name of the split.
          most: most windows; None for all.
          own: of several processes, only the rows of this one.
        """
        return loader.Batches(
            self.corpus,
            split,
            excerpt=self.excerpt,
            batch_size=self.config.train.batch_size,
            noise=self.test_noise(split, self.excerpt),
            workers=self.workers,
            most=most,
            shard=_shard(own),
        )

    def train_batches(self, start: int, *, own: bool = True) -> Iterator[loader.Batch]:
        """Endless batches of random training excerpts, from step ``start``; with ``own``, the rows
        of this process."""
        data = self.config.data
        return loader.train_batches(
            self.corpus,
            excerpt=self.excerpt,
            batch_size=self.config.train.batch_size,
            seed=data.seed,
            start=start,
            drawing=loader.Drawing(
                self.augmentation.span(self.excerpt),
                equal=data.weighting == "equal",
                silence_db=data.silence_db,
                redraws=data.silence_redraws,
            ),
            noise=self.noise,
            workers=self.workers,
            shard=_shard(own),
        )

    def silent_batch(self) -> dict[str, np.ndarray]:
        """A training batch of silence, whose shapes the step is compiled for."""
        rows = self.config.train.batch_size
        span = self.augmentation.span(self.excerpt)
        audio = np.zeros((rows, span, *self.corpus.channel_shape), np.float32)
        batch = {
            "audio": audio,
            "length": np.zeros(rows, np.int32),
            "position": np.zeros(rows, np.float32),
            "clip": np.zeros(rows, np.int32),
        }
        return batch if self.noise is None else batch | {"noise": audio}

    def clip_names(self, clips: np.ndarray) -> str:
        """Names of clips by index, for messages."""
        return ", ".join(sorted({self.corpus.clips.name(clip) for clip in clips.tolist()}))


def prepare(
    config: ConfigDict,
    workdir: Workdir,
    alongside: Experiment | None = None,
    *,
    corpus: Corpus | None = None,
    command: str = "",
) -> Experiment:
    """Opens devices and corpus, prints them, and creates the run's directory.

    Args: see `open_experiment`.
    """

    def opened() -> Experiment:
        return open_experiment(config, workdir, alongside, corpus=corpus, command=command)

    with processes.main_first():
        if processes.is_main():
            experiment = opened()
        workdir.create()
    with processes.main_first():  # it has scanned the files, and the others read the scan
        if not processes.is_main():
            experiment = opened()
        workdir.write_config()
        content = preflight(experiment.corpus).as_json()
        workdir.write_text("corpus.json", json.dumps(content, indent=1) + "\n")
        corpora.save(workdir, experiment.corpus, experiment.noise)
        if experiment.speakers:
            workdir.write_text(SPEAKERS, json.dumps(experiment.speakers, indent=1) + "\n")
    return experiment


def open_experiment(
    config: ConfigDict,
    workdir: Workdir,
    alongside: Experiment | None = None,
    *,
    corpus: Corpus | None = None,
    command: str = "",
) -> Experiment:
    """Opens devices and corpus, and prints them; writes nothing.

    Args:
      config: of the run.
      workdir: of the run.
      alongside: another experiment with the same ``config.data`` and augmentation; its corpus is
        reused, unless a resumed run has other files.
      corpus: replaces the corpus of ``config.data``.
      command: shell command that repeats the run.
    """
    representation = representations.from_config(config)
    losses.check_rate(losses.used(config), config.data.sample_rate)
    devices = Devices(config.train.batch_size, shard=config.train.shard)
    opened = (corpus, None) if alongside is None else (alongside.corpus, alongside.noise)
    corpus, noise = corpora.of_run(config, workdir, opened)
    blocks = excerpt_blocks(config, representation)
    excerpt = representation.samples(blocks * config.model.downsampling)
    check_splits(corpus, excerpt)
    _check_blocks(config, corpus, representation, excerpt)
    speakers, speaker_of = _speakers(config, corpus)
    dtype = jnp.dtype(config.train.dtype)
    model = autoencoder.from_config(
        config.model, representation.bins, dtype, speakers=len(speakers)
    )
    if alongside is None:
        print(f"device: {devices}")
        _print_corpora(corpus, noise)
    experiment = Experiment(
        config,
        workdir,
        devices,
        corpus,
        noise,
        representation,
        model,
        excerpt,
        command,
        speakers,
        speaker_of,
    )
    if alongside is None:
        _warn_of_warmup(experiment)
    return experiment


def _warn_of_warmup(experiment: Experiment) -> None:
    """Warns if training ends before the learning rate would reach its highest value."""
    options = experiment.config.train
    updates = options.steps // options.grad_accum_steps
    if 0 < updates <= options.warmup_steps:
        experiment.warn_once(
            f"training is {words.count(updates, 'update')}, and train.warmup_steps="
            f"{options.warmup_steps}: the learning rate rises over the first half of them instead;"
            " raise train.steps or lower train.warmup_steps"
        )


def _shard(own: bool) -> tuple[int, int]:
    return (processes.index(), processes.count()) if own else (0, 1)


def _print_corpora(corpus: Corpus, noise: Corpus | None) -> None:
    print(summary(preflight(corpus)))
    if noise is None:
        return
    minutes = float(noise.clips.seconds().sum()) / 60
    clips = words.count(len(noise.clips), "clip")
    print(f"noise: {printable(noise.title)}, {clips}, {minutes:.1f} minutes")
    about = preflight(noise)
    for line in (*remarks(about), *about.thin):
        print(f"  {line}")


# File in a run's directory with the names of its speakers.
SPEAKERS = "speakers.json"


def _speakers(config: ConfigDict, corpus: Corpus) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Names of the speakers in the training split, and the speaker of each clip."""
    label = config.model.speaker_label
    if not label:
        return (), None
    columns = corpus.clips.labels
    column = columns.get(names.value(label))
    if column is None or column.categories is None:
        usable = ", ".join(name for name, c in columns.items() if c.categories is not None)
        raise UserError(
            f"config.model.speaker_label={label!r} is not a categorical label of the corpus; its"
            f" categorical labels: {usable or 'none'}"
        )
    train = column.values[corpus.clips.of_split("train")]
    used = np.unique(train[train >= 0])
    speaker_of = np.zeros(len(column.categories) + 1, np.int32)  # the last entry: -1, no label
    speaker_of[used] = np.arange(1, len(used) + 1)
    return tuple(column.categories[index] for index in used.tolist()), speaker_of[column.values]


def eval_mel(config: ConfigDict) -> Representation:
    """The reference mel of a config: log-mel spectrogram of the audio metric."""
    inner = representations.eval_mel(config.data.sample_rate)
    stereo = config.data.channels == "stereo"
    return representations.Multichannel(inner, 2) if stereo else inner


def excerpt_blocks(config: ConfigDict, representation: Representation) -> int:
    """Latent frames of a training excerpt, from ``data.excerpt_seconds``; at least enough for the
    representation."""
    downsampling = config.model.downsampling
    blocks = config.data.excerpt_seconds * representation.frame_rate / downsampling
    return max(-(-representation.fewest_frames // downsampling), int(blocks))


def noise_adder(config: ConfigDict) -> Callable[[dict[str, jax.Array]], jax.Array] | None:
    """For denoising, a function from a batch on the devices to its noisy audio, for evaluation;
    otherwise None."""
    if not corpora.denoises(config):
        return None
    noise = augmentations.noise_of(config)
    return functools.partial(measuring.evaluation_input, noise=noise)


def _check_blocks(
    config: ConfigDict, corpus: Corpus, representation: Representation, excerpt: int
) -> None:
    """Checks that the training split has enough blocks for a PCA of ``latent_dim`` components."""
    downsampling, latent_dim = config.model.downsampling, config.model.latent_dim
    blocks = 0
    for clip in corpus.clips.of_split("train"):
        whole, rest = divmod(int(corpus.clips.samples[clip]), excerpt)
        blocks += whole * (representation.frames(excerpt) // downsampling)
        blocks += -(-representation.frames(rest) // downsampling) if rest else 0
        if blocks > latent_dim:
            return
    raise UserError(
        f"the training split has {words.count(blocks, 'block')} of"
        f" {words.count(downsampling, 'frame')}, too few for"
        f" {words.count(latent_dim, 'latent')}; add audio or lower model.latent_dim"
    )
