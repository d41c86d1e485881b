"""The corpora of a run, for audio and noise: folders, packs, or the built-in corpus."""

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

# Scans of the corpus and of the noise, in the run's directory.
_SCANS = ("corpus.npz", "noise.npz")


def of_run(
    config: ConfigDict,
    workdir: Workdir,
    alongside: tuple[corpora.Corpus | None, corpora.Corpus | None] = (None, None),
) -> tuple[corpora.Corpus, corpora.Corpus | None]:
    """The corpus of a run, and its corpus of noise or None. A resumed run has its original files.

    Args:
      config: of the run.
      workdir: of the run; a resumed run's scans are read from it.
      alongside: corpora of another run with the same keys, reused unless a resumed run has other
        files.
    """
    earlier, earlier_noise = (scans.load(workdir.path / name) for name in _SCANS)
    corpus, noise = alongside
    if corpus is None or not _matches(corpus, earlier):
        corpus = _corpus(config, settings_of(config), earlier, workdir)
    if noise is None or not _matches(noise, earlier_noise):
        noise = _noise(config, earlier_noise, workdir)
    return corpus, noise


def save(workdir: Workdir, *of_run: corpora.Corpus | None) -> None:
    """Writes the scans of a run's corpora, so that it resumes with the same files."""
    for name, corpus in zip(_SCANS, of_run, strict=True):
        if corpus is not None and corpus.scanned is not None:
            scans.save(workdir.path / name, corpus.scanned)


def denoises(config: ConfigDict) -> bool:
    """Whether the task is denoising."""
    return config.task == "denoise"


def settings_of(config: ConfigDict, *, all_of_it: bool = False) -> corpora.Settings:
    """How the corpus is read and split; with ``all_of_it``, all files are in the split "train"."""
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
    """The corpus of a folder or pack, with a progress bar; prints unusable files and the reasons to
    standard error."""
    corpus = _open(root, settings, known)
    for line in remarks(preflight(corpus)):
        note(line)
    return corpus


def open_noise(config: ConfigDict) -> corpora.Corpus | None:
    """The corpus of noise, or None. It is all for training, except for denoising: there it is split
    by file, so that evaluation uses other noise than training."""
    if config.augment.noise.kind != "folder":
        return None
    return open_corpus(Path(config.augment.noise.path), _noise_settings(config))


def _open(root: Path, settings: corpora.Settings, known: Scan | None) -> corpora.Corpus:
    root = files.expand(root)
    if packed.is_pack(root):
        return packed.PackedCorpus(root, settings)
    return open_folder(root, settings, known=known, progress=progress)


def _matches(corpus: corpora.Corpus, earlier: Scan | None) -> bool:
    """Whether a corpus has the files of an earlier scan; always without one."""
    if earlier is None:
        return True
    return corpus.scanned is not None and not corpora.changes(corpus.scanned, earlier)


def _corpus(
    config: ConfigDict, settings: corpora.Settings, earlier: Scan | None, workdir: Workdir
) -> corpora.Corpus:
    """The folder, the pack, or the built-in corpus, with the files of the earlier scan."""
    if config.data.path:
        corpus = _open(Path(config.data.path), settings, earlier)
        return _restored(corpus, earlier, settings, workdir)
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
    noise = _restored(noise, earlier, settings, workdir)
    if denoises(config):
        try:
            corpora.check_splits(noise, 0)
        except UserError as error:
            raise UserError(f"config.augment.noise.path: {error}") from None
    return noise


def _restored(
    corpus: corpora.Corpus,
    earlier: Scan | None,
    settings: corpora.Settings,
    workdir: Workdir,
) -> corpora.Corpus:
    """The corpus without files that are new or have changed since the earlier scan.

    Raises:
      UserError: a pack has changed.
    """
    if earlier is None or corpus.scanned is None:
        return corpus
    changed = corpora.changes(corpus.scanned, earlier)
    if not changed:
        return corpus
    difference = (
        f"{corpus.title} has changed since the run in {workdir.path} began: {len(changed)} of its"
        f" files (the first is {changed[0]})"
    )
    if not isinstance(corpus, FolderCorpus):
        raise UserError(f"{difference}; use another --workdir")
    warn(f"{difference}; training continues with the unchanged ones")
    return FolderCorpus(corpus.root, corpora.restore_scan(corpus.scanned, earlier), settings)
