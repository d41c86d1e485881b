"""What a config stands for: devices, corpus, representation, sizes. Nothing is fitted here."""

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
from aejax.runtime.devices import Devices
from aejax.runtime.errors import UserError, plain
from aejax.runtime.progress import warn
from aejax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a config stands for, before anything is fitted.

    Attributes:
      config: valid.
      workdir: of the run.
      devices: it runs on.
      corpus: it runs on.
      noise: what noise is drawn from, if it is from a folder; split as the corpus is where it is
        to be taken away, and otherwise all of it for training.
      representation: of its audio.
      model: of its features, without variables.
      excerpt: samples of a training excerpt: whole blocks of frames, exactly.
      command: that repeats the run.
      speakers: that the decoder is told of: values of the label ``model.speaker_label``.
      speaker_of: int32 ``[clips]``, the number of each clip's: 1 for the first, and 0 for one that
        is not among them.
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
    _warned: set[str] = dataclasses.field(default_factory=set)

    @property
    def downsampling(self) -> int:
        """Frames in a block."""
        return self.config.model.downsampling

    @property
    def eval_mel(self) -> Representation:
        """The log-mel spectrogram that audio is measured by, whatever the representation."""
        return eval_mel(self.config)

    @property
    def objective(self) -> objective.Objective:
        """What ``config.loss`` stands for."""
        return objective.from_config(self.config, self.representation)

    def test_noise(self, split: str, length: int) -> loader.TestNoise | None:
        """Noise from a folder for what is measured, where it is to be taken away."""
        if self.noise is None or not self.denoises:
            return None
        return loader.TestNoise(self.noise, split, length)

    @property
    def augmentation(self) -> augmentations.Chain:
        """What ``config.augment`` stands for."""
        return augmentations.from_config(self.config, self.excerpt)

    @property
    def noise_to_remove(self) -> augmentations.Noise | None:
        """What adds the noise that is to be taken away, where any is."""
        return augmentations.noise_of(self.config) if self.denoises else None

    @property
    def denoises(self) -> bool:
        """Whether what is to be given back is without the noise that is heard."""
        return corpora.denoises(self.config)

    @property
    def hear(self) -> Callable[[dict[str, jax.Array]], jax.Array] | None:
        """For an `aejax.evaluation.evaluate.Evaluator`."""
        return hearing(self.config)

    def latent_rate(self, latent_dim: int) -> float:
        """Latent floats per second of so many in a latent frame."""
        return self.representation.frame_rate / self.downsampling * latent_dim

    @property
    def workers(self) -> loader.Workers:
        """Who read audio."""
        data = self.config.data
        return loader.Workers(data.workers, data.worker_kind, self.warn_once)

    def place(self, batch: Any) -> dict[str, jax.Array]:
        """A host batch on the devices, with the numbers of its speakers."""
        if self.speaker_of is not None:
            known = np.where(batch["clip"] >= 0, self.speaker_of[batch["clip"]], 0)
            batch = {**batch, "speaker": known.astype(np.int32)}
        return self.devices.place(batch)

    def warn_once(self, message: str) -> None:
        """Warns, unless it has been said in this run."""
        if message not in self._warned:
            self._warned.add(message)
            warn(message)

    def batches(self, split: str, most: int | None = None) -> loader.Batches:
        """All of a split, in order, or so many windows of it; with noise, where it is to be taken
        away."""
        return loader.Batches(
            self.corpus,
            split,
            excerpt=self.excerpt,
            batch_size=self.config.train.batch_size,
            noise=self.test_noise(split, self.excerpt),
            workers=self.workers,
            most=most,
        )

    def train_batches(self, start: int) -> Iterator[loader.Batch]:
        """Random training excerpts without end, from that step on."""
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
        )

    def silent_batch(self) -> dict[str, np.ndarray]:
        """A training batch of silence: what the step is compiled for."""
        rows = self.config.train.batch_size
        span = self.augmentation.span(self.excerpt)
        audio = np.zeros((rows, span, *self.corpus.channel_shape), np.float32)
        batch = {
            "audio": audio,
            "length": np.zeros(rows, np.int32),
            "place": np.zeros(rows, np.float32),
            "clip": np.zeros(rows, np.int32),
        }
        return batch if self.noise is None else batch | {"noise": audio}

    def clip_names(self, clips: np.ndarray) -> str:
        """Names of clips, by their indices, for messages."""
        return ", ".join(sorted({self.corpus.clips.name(clip) for clip in clips.tolist()}))


def prepare(
    config: ConfigDict,
    workdir: Workdir,
    alongside: Experiment | None = None,
    *,
    corpus: Corpus | None = None,
    command: str = "",
) -> Experiment:
    """Finds the devices and the corpus, prints them, and makes the run's directory.

    Args:
      config: of the run.
      workdir: of the run.
      alongside: of another run with the same ``config.data`` and the same augmentation; what was
        found for it is not looked for again, but for a run that began with other files.
      corpus: to run on, instead of what ``config.data`` names.
      command: that repeats the run.
    """
    representation = representations.from_config(config)
    losses.check_rate(losses.used(config), config.data.sample_rate)
    devices = Devices(config.train.batch_size)
    others = (corpus, None) if alongside is None else (alongside.corpus, alongside.noise)
    corpus, noise = corpora.of_run(config, workdir, others)
    blocks = excerpt_blocks(config, representation)
    excerpt = representation.samples(blocks * config.model.downsampling)
    check_splits(corpus, excerpt)
    _check_blocks(config, corpus, representation, excerpt)
    if alongside is None:
        print(f"device: {devices}")
        _print_corpora(corpus, noise)
    workdir.create()
    workdir.write_text("corpus.json", json.dumps(preflight(corpus).as_json(), indent=1) + "\n")
    corpora.save(workdir, corpus, noise)
    speakers, speaker_of = _speakers(config, corpus)
    if speakers:
        workdir.write_text(SPEAKERS, json.dumps(speakers, indent=1) + "\n")
    return Experiment(
        config,
        workdir,
        devices,
        corpus,
        noise,
        representation,
        autoencoder.from_config(
            config.model,
            representation.bins,
            jnp.dtype(config.train.dtype),
            speakers=len(speakers),
        ),
        excerpt,
        command,
        speakers,
        speaker_of,
    )


def _print_corpora(corpus: Corpus, noise: Corpus | None) -> None:
    print(summary(preflight(corpus)))
    if noise is None:
        return
    minutes = float(noise.clips.seconds().sum()) / 60
    print(f"noise: {plain(noise.title)}, {len(noise.clips)} clips, {minutes:.1f} minutes")
    about = preflight(noise)
    for line in (*remarks(about), *about.thin):
        print(f"  {line}")


# In a run's directory, the names of those that its decoder knows.
SPEAKERS = "speakers.json"


def _speakers(config: ConfigDict, corpus: Corpus) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Those of the training split, and the number of each clip's."""
    label = config.model.speaker_label
    if not label:
        return (), None
    columns = corpus.clips.labels
    column = columns.get(names.value(label))
    if column is None or column.categories is None:
        known = ", ".join(name for name, each in columns.items() if each.categories is not None)
        raise UserError(
            f"config.model.speaker_label={label!r} is no label of the corpus that names things;"
            f" {known or 'none'} {'is' if known else 'are'} there"
        )
    train = column.values[corpus.clips.of_split("train")]
    used = np.unique(train[train >= 0])
    number = np.zeros(len(column.categories) + 1, np.int32)  # the last is for -1, none at all
    number[used] = np.arange(1, len(used) + 1)
    return tuple(column.categories[place] for place in used.tolist()), number[column.values]


def eval_mel(config: ConfigDict) -> Representation:
    """What audio of such a run is measured by."""
    inner = representations.eval_mel(config.data.sample_rate)
    stereo = config.data.channels == "stereo"
    return representations.Multichannel(inner, 2) if stereo else inner


def excerpt_blocks(config: ConfigDict, representation: Representation) -> int:
    """Latent frames of a training excerpt: as many as the config says, if it can be analysed."""
    downsampling = config.model.downsampling
    blocks = config.data.excerpt_seconds * representation.frame_rate / downsampling
    return max(-(-representation.fewest_frames // downsampling), int(blocks))


def hearing(config: ConfigDict) -> Callable[[dict[str, jax.Array]], jax.Array] | None:
    """What a model of that config hears of a placed batch where it is measured; None where that is
    what it is to give back."""
    if not corpora.denoises(config):
        return None
    noise = augmentations.noise_of(config)
    return functools.partial(measuring.evaluation_input, noise=noise)


def _check_blocks(
    config: ConfigDict, corpus: Corpus, representation: Representation, excerpt: int
) -> None:
    """Refuses a training split with too few blocks for PCA to find so many latents."""
    downsampling, latent_dim = config.model.downsampling, config.model.latent_dim
    blocks = 0
    for clip in corpus.clips.of_split("train"):
        whole, rest = divmod(int(corpus.clips.samples[clip]), excerpt)
        blocks += whole * (representation.frames(excerpt) // downsampling)
        blocks += -(-representation.frames(rest) // downsampling) if rest else 0
        if blocks > latent_dim:
            return
    raise UserError(
        f"the training split has {blocks} blocks of {downsampling} frames, too few to find"
        f" {latent_dim} latents; add audio or lower model.latent_dim"
    )
