"""What a config stands for: devices, corpus, representation, sizes. Nothing is fitted here."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from aejax import representation as representations
from aejax.data import corpus as corpora
from aejax.data import folder, loader
from aejax.data.synthetic import SyntheticCorpus
from aejax.errors import UserError
from aejax.representation import Representation
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
      representation: of its audio.
      excerpt: samples of a training excerpt: whole blocks of frames, exactly.
    """

    config: ConfigDict
    workdir: Workdir
    devices: Devices
    corpus: corpora.Corpus
    representation: Representation
    excerpt: int

    @property
    def downsampling(self) -> int:
        """Frames in a block."""
        return self.config.model.downsampling

    def batches(self, split: str) -> loader.Batches:
        """All of a split, in order."""
        return loader.Batches(
            self.corpus, split, excerpt=self.excerpt, batch_size=self.config.train.batch_size
        )


def prepare(config: ConfigDict, workdir: Workdir) -> Experiment:
    """Finds the devices and the corpus, prints them, and makes the run's directory."""
    representation = representations.from_config(config)
    devices = Devices(config.train.batch_size)
    print(f"device: {devices}")
    earlier = workdir.read_json("corpus.json")
    corpus, scanned = _corpus(config, earlier)
    downsampling = config.model.downsampling
    blocks = config.data.excerpt_seconds * representation.frame_rate / downsampling
    fewest = -(-representation.fewest_frames // downsampling)
    excerpt = representation.samples(max(fewest, round(blocks)) * downsampling)
    corpora.check_splits(corpus, excerpt)
    _check_blocks(config, corpus, representation, excerpt)
    _refuse_another_corpus(corpus, earlier, workdir)
    print(corpora.summary(corpus))
    workdir.create()
    workdir.write_text("corpus.json", corpora.to_json(corpus, scanned))
    return Experiment(config, workdir, devices, corpus, representation, excerpt)


def _check_blocks(
    config: ConfigDict, corpus: corpora.Corpus, representation: Representation, excerpt: int
) -> None:
    """Refuses a training split with too few blocks for PCA to find so many latents."""
    downsampling, latent_dim = config.model.downsampling, config.model.latent_dim
    blocks = 0
    for clip in corpus.clips:
        if clip.split == "train":
            whole, rest = divmod(corpora.samples_of(corpus, clip), excerpt)
            blocks += whole * (representation.frames(excerpt) // downsampling)
            blocks += -(-representation.frames(rest) // downsampling) if rest else 0
        if blocks > latent_dim:
            return
    raise UserError(
        f"the training split has {blocks} blocks of {downsampling} frames, too few to find"
        f" {latent_dim} latents; add audio or lower model.latent_dim"
    )


def _refuse_another_corpus(corpus: corpora.Corpus, earlier: Any, workdir: Workdir) -> None:
    """A run goes on only with the clips and splits that it began with."""
    now = corpora.as_dicts(corpus)
    if earlier is None or earlier["clips"] == now:
        return
    then = {clip["name"]: clip for clip in earlier["clips"]}
    here = {clip["name"]: clip for clip in now}
    changed = sorted(n for n in then.keys() | here.keys() if then.get(n) != here.get(n))
    raise UserError(
        f"the audio of data.path has changed since the run in {workdir.path} began"
        f" ({len(changed)} clips, the first {changed[0]}); give another --workdir"
    )


def _corpus(config: ConfigDict, earlier: Any) -> tuple[corpora.Corpus, dict[str, Any]]:
    data = config.data
    splitting = {
        "validation_fraction": data.validation_fraction,
        "test_fraction": data.test_fraction,
        "split_seed": data.split_seed,
    }
    if not data.path:
        synthetic = SyntheticCorpus(
            clips=data.synthetic.clips,
            seconds=data.synthetic.seconds,
            seed=config.seed,
            sample_rate=data.sample_rate,
            cache_bytes=int(data.cache_megabytes * 1e6),
            **splitting,
        )
        return synthetic, {}
    return folder.scan(
        Path(data.path).expanduser(),
        sample_rate=data.sample_rate,
        channels=data.channels,
        split_by=data.split_by,
        include=data.include,
        cache_bytes=int(data.cache_megabytes * 1e6),
        known=(earlier or {}).get("scanned"),
        progress=lambda items, total: bar(items, total=total, desc="reading files", unit="file"),
        **splitting,
    )


def bar(items: Any = None, **options: Any) -> tqdm:
    """A progress bar on a terminal or in a log, gone when it is done."""
    every = 0.1 if sys.stderr.isatty() else 10
    return tqdm(items, leave=False, mininterval=every, dynamic_ncols=True, **options)
