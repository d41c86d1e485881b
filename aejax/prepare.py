"""What a config stands for: devices, corpus, representation, sizes. Nothing is fitted here."""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from aejax import representation as representations
from aejax.bars import note, progress, warn
from aejax.data import corpus as corpora
from aejax.data import loader, names, packed
from aejax.data import scan as scans
from aejax.data.folder import FolderCorpus, open_folder
from aejax.data.preflight import preflight, remarks, summary
from aejax.data.scan import Scan
from aejax.data.synthetic import SyntheticCorpus
from aejax.errors import UserError, plain
from aejax.representation import Representation
from aejax.runtime import files
from aejax.training import augmentation, losses, measuring
from aejax.training.augmentation import Augmentation
from aejax.training.devices import Devices
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
      excerpt: samples of a training excerpt: whole blocks of frames, exactly.
      command: that repeats the run.
      speakers: that the decoder is told of: values of the label ``model.speaker_label``.
      speaker_of: int32 ``[clips]``, the number of each clip's: 1 for the first, and 0 for one that
        is not among them.
    """

    config: ConfigDict
    workdir: Workdir
    devices: Devices
    corpus: corpora.Corpus
    noise: corpora.Corpus | None
    representation: Representation
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
    def yardstick(self) -> Representation:
        """The log-mel spectrogram that audio is measured by, whatever the representation."""
        return yardstick(self.config)

    @property
    def objective(self) -> losses.Objective:
        """What ``config.loss`` stands for."""
        return losses.from_config(self.config, self.representation)

    def test_noise(self, split: str, length: int) -> loader.TestNoise | None:
        """Noise from a folder for what is measured, where it is to be taken away."""
        if self.noise is None or not self.denoises:
            return None
        return loader.TestNoise(self.noise, split, length)

    @property
    def augmentation(self) -> Augmentation:
        """What ``config.augment`` stands for."""
        return augmentation.from_config(self.config)

    @property
    def denoises(self) -> bool:
        """Whether what is to be given back is without the noise that is heard."""
        return denoises(self.config)

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


# What was found in the corpus, and in the noise.
_SCANS = ("corpus.npz", "noise.npz")


def prepare(
    config: ConfigDict,
    workdir: Workdir,
    alongside: Experiment | None = None,
    *,
    command: str = "",
) -> Experiment:
    """Finds the devices and the corpus, prints them, and makes the run's directory.

    Args:
      config: of the run.
      workdir: of the run.
      alongside: of another run with the same ``config.data`` and the same augmentation; what was
        found for it is not looked for again, but for a run that began with other files.
      command: that repeats the run.
    """
    representation = representations.from_config(config)
    losses.check_rate(
        (name for name, loss in config.loss.items() if loss.weight), config.data.sample_rate
    )
    devices = Devices(config.train.batch_size)
    if alongside is None:
        print(f"device: {devices}")
    earlier, earlier_noise = (scans.load(workdir.path / name) for name in _SCANS)
    settings = settings_of(config)
    if alongside is not None and _is(alongside.corpus, earlier):
        corpus = alongside.corpus
    else:
        corpus = _corpus(config, settings, earlier, workdir)
    excerpt = representation.samples(
        excerpt_blocks(config, representation) * config.model.downsampling
    )
    corpora.check_splits(corpus, excerpt)
    _check_blocks(config, corpus, representation, excerpt)
    if alongside is not None and _is(alongside.noise, earlier_noise):
        noise = alongside.noise
    else:
        noise = _noise(config, earlier_noise, workdir)
    found = preflight(corpus)
    if alongside is None:
        print(summary(found))
        if noise is not None:
            minutes = float(noise.clips.seconds().sum()) / 60
            print(f"noise: {plain(noise.title)}, {len(noise.clips)} clips, {minutes:.1f} minutes")
            about_noise = preflight(noise)
            for line in (*remarks(about_noise), *about_noise.thin):
                print(f"  {line}")
    workdir.create()
    workdir.write_text("corpus.json", json.dumps(found.as_json(), indent=1) + "\n")
    for name, kept in zip(_SCANS, (corpus, noise), strict=True):
        if kept is not None and kept.scanned is not None:
            scans.save(workdir.path / name, kept.scanned)
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
        excerpt,
        command,
        speakers,
        speaker_of,
    )


# In a run's directory, the names of those that its decoder knows.
SPEAKERS = "speakers.json"


def _speakers(
    config: ConfigDict, corpus: corpora.Corpus
) -> tuple[tuple[str, ...], np.ndarray | None]:
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


def yardstick(config: ConfigDict) -> Representation:
    """What audio of such a run is measured by."""
    inner = representations.yardstick(config.data.sample_rate)
    stereo = config.data.channels == "stereo"
    return representations.Multichannel(inner, 2) if stereo else inner


def excerpt_blocks(config: ConfigDict, representation: Representation) -> int:
    """Latent frames of a training excerpt: as many as the config says, if it can be analysed."""
    downsampling = config.model.downsampling
    blocks = config.data.excerpt_seconds * representation.frame_rate / downsampling
    return max(-(-representation.fewest_frames // downsampling), int(blocks))


def _is(corpus: corpora.Corpus | None, earlier: Scan | None) -> bool:
    """Whether it is what a run began with; one that has not begun takes anything."""
    if earlier is None:
        return True
    scanned = None if corpus is None else corpus.scanned
    return scanned is not None and not corpora.changes(scanned, earlier)


def _corpus(
    config: ConfigDict, settings: corpora.Settings, earlier: Scan | None, workdir: Workdir
) -> corpora.Corpus:
    """The folder, the pack, or the built-in corpus; that which the run began with."""
    if config.data.path:
        corpus = _open(Path(config.data.path), settings, earlier)
        return _as_it_was(corpus, earlier, settings, workdir)
    synthetic = config.data.synthetic
    return SyntheticCorpus(
        clips=synthetic.clips,
        seconds=synthetic.seconds,
        seed=config.data.seed,
        settings=settings,
    )


def open_corpus(
    root: Path, settings: corpora.Settings, *, known: Scan | None = None
) -> corpora.Corpus:
    """A folder of audio, or a pack, with a progress bar where that takes long; what is left out of
    it, and why, is said on standard error."""
    corpus = _open(root, settings, known)
    for line in remarks(preflight(corpus)):
        note(line)
    return corpus


def _open(root: Path, settings: corpora.Settings, known: Scan | None) -> corpora.Corpus:
    root = files.expand(root)
    if packed.is_pack(root):
        return packed.PackedCorpus(root, settings)
    return open_folder(root, settings, known=known, progress=progress)


def settings_of(config: ConfigDict, *, all_of_it: bool = False) -> corpora.Settings:
    """How the corpus is read and split; with ``all_of_it``, how another one is read, all of which
    is in the split "train"."""
    data = config.data
    settings = corpora.Settings(
        sample_rate=data.sample_rate,
        channels=data.channels,
        include=tuple(data.include),
        split_by=data.split_by,
        split_seed=data.split_seed,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        labels=data.labels,
        cache_bytes=int(data.cache_megabytes * 1e6),
    )
    if not all_of_it:
        return settings
    return dataclasses.replace(
        settings,
        include=("*",),
        labels="",
        split_by="file",
        validation_fraction=0.0,
        test_fraction=0.0,
    )


def denoises(config: ConfigDict) -> bool:
    """Whether a run of that config learns to take noise away."""
    return config.augment.target == "clean"


def hearing(config: ConfigDict) -> Callable[[dict[str, jax.Array]], jax.Array] | None:
    """What a model of that config hears of a placed batch where it is measured; None where that is
    what it is to give back."""
    if not denoises(config):
        return None
    amount = augmentation.from_config(config)

    return functools.partial(measuring.heard_in_tests, amount=amount)


def open_noise(config: ConfigDict) -> corpora.Corpus | None:
    """The corpus of noise, if there is one, as `open_corpus` does: all of it for training; or,
    where it is to be taken away, by file, in the same shares as the corpus, so that it is measured
    on other noise."""
    if config.augment.noise != "folder":
        return None
    return open_corpus(Path(config.augment.noise_path), _noise_settings(config))


def _noise_settings(config: ConfigDict) -> corpora.Settings:
    settings = settings_of(config, all_of_it=True)
    if not denoises(config):
        return settings
    data = config.data
    return dataclasses.replace(
        settings,
        split_seed=data.split_seed,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
    )


def _noise(config: ConfigDict, earlier: Scan | None, workdir: Workdir) -> corpora.Corpus | None:
    if config.augment.noise != "folder":
        return None
    settings = _noise_settings(config)
    noise = _open(Path(config.augment.noise_path), settings, earlier)
    noise = _as_it_was(noise, earlier, settings, workdir)
    if denoises(config):
        try:
            corpora.check_splits(noise, 0)
        except UserError as error:
            raise UserError(f"config.augment.noise_path: {error}") from None
    return noise


def _check_blocks(
    config: ConfigDict, corpus: corpora.Corpus, representation: Representation, excerpt: int
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


def _as_it_was(
    corpus: corpora.Corpus,
    earlier: Scan | None,
    settings: corpora.Settings,
    workdir: Workdir,
) -> corpora.Corpus:
    """The corpus that a run began with: what has gone or changed since is done without, and what
    is new is not taken.

    Raises:
      UserError: it is a pack, and another one.
    """
    if earlier is None or corpus.scanned is None:
        return corpus
    changed = corpora.changes(corpus.scanned, earlier)
    if not changed:
        return corpus
    what = f"{len(changed)} of its files (the first is {changed[0]})"
    if not isinstance(corpus, FolderCorpus):
        raise UserError(
            f"{corpus.title} is not what it was when the run in {workdir.path} began, in {what};"
            " give another --workdir"
        )
    warn(
        f"{corpus.title} is not what it was when the run in {workdir.path} began, in {what}; the"
        " run goes on with those that are"
    )
    return FolderCorpus(corpus.root, corpora.as_it_was(corpus.scanned, earlier), settings)
