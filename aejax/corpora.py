"""The corpus of a config, and that of its noise: a folder, a pack, or what is built in."""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from aejax.data import corpus as corpora
from aejax.data import packed
from aejax.data import scan as scans
from aejax.data.folder import FolderCorpus, open_folder
from aejax.data.preflight import preflight, remarks
from aejax.data.scan import Scan
from aejax.data.synthetic import SyntheticCorpus
from aejax.runtime import files
from aejax.runtime.errors import UserError
from aejax.runtime.progress import note, progress, warn
from aejax.workdir import Workdir

# In a run's directory, what was found in the corpus, and in the noise.
_SCANS = ("corpus.npz", "noise.npz")


def of_run(
    config: ConfigDict,
    workdir: Workdir,
    alongside: tuple[corpora.Corpus | None, corpora.Corpus | None] = (None, None),
) -> tuple[corpora.Corpus, corpora.Corpus | None]:
    """The corpus of a run, and of its noise if that is from a folder: those that it began with.

    Args:
      config: of the run.
      workdir: of the run; what was found is read from there, if it has begun.
      alongside: those of another run with the same keys, which are not looked through again, but
        for a run that began with other files.
    """
    earlier, earlier_noise = (scans.load(workdir.path / name) for name in _SCANS)
    corpus, noise = alongside
    if corpus is None or not _is(corpus, earlier):
        corpus = _corpus(config, settings_of(config), earlier, workdir)
    if noise is None or not _is(noise, earlier_noise):
        noise = _noise(config, earlier_noise, workdir)
    return corpus, noise


def save(workdir: Workdir, *found: corpora.Corpus | None) -> None:
    """Writes what was found in the corpus, and in the noise, so that a run goes on with it."""
    for name, corpus in zip(_SCANS, found, strict=True):
        if corpus is not None and corpus.scanned is not None:
            scans.save(workdir.path / name, corpus.scanned)


def denoises(config: ConfigDict) -> bool:
    """Whether a run of that config learns to take noise away."""
    return config.task == "denoise"


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


def open_corpus(
    root: Path, settings: corpora.Settings, *, known: Scan | None = None
) -> corpora.Corpus:
    """A folder of audio, or a pack, with a progress bar where that takes long; what is left out of
    it, and why, is said on standard error."""
    corpus = _open(root, settings, known)
    for line in remarks(preflight(corpus)):
        note(line)
    return corpus


def open_noise(config: ConfigDict) -> corpora.Corpus | None:
    """The corpus of noise, if there is one, as `open_corpus` does: all of it for training; or,
    where it is to be taken away, by file, in the same shares as the corpus, so that it is measured
    on other noise."""
    if config.augment.noise.kind != "folder":
        return None
    return open_corpus(Path(config.augment.noise.path), _noise_settings(config))


def _open(root: Path, settings: corpora.Settings, known: Scan | None) -> corpora.Corpus:
    root = files.expand(root)
    if packed.is_pack(root):
        return packed.PackedCorpus(root, settings)
    return open_folder(root, settings, known=known, progress=progress)


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
    if config.augment.noise.kind != "folder":
        return None
    settings = _noise_settings(config)
    noise = _open(Path(config.augment.noise.path), settings, earlier)
    noise = _as_it_was(noise, earlier, settings, workdir)
    if denoises(config):
        try:
            corpora.check_splits(noise, 0)
        except UserError as error:
            raise UserError(f"config.augment.noise.path: {error}") from None
    return noise


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
    return FolderCorpus(corpus.root, corpora.restore_scan(corpus.scanned, earlier), settings)
