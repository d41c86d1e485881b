"""Batches of audio from a corpus: seeded, shuffled, resumable, read ahead by threads."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TypedDict

import grain
import numpy as np

from aejax.data.corpus import Clip, Corpus, samples_of


class Batch(TypedDict):
    """What the host hands to the device.

    Attributes:
      audio: float32 ``[batch, samples]``.
      length: int32 ``[batch]``, samples before the clip's end; the rest of the row is silence. 0
        marks a row that only fills up the batch.
      clip: int32 ``[batch]``, index in the corpus's clips.
    """

    audio: np.ndarray
    length: np.ndarray
    clip: np.ndarray


@dataclasses.dataclass(frozen=True)
class Window:
    """A stretch of a clip, ``start`` in samples at the corpus's rate; -1 for a filling row."""

    clip: int
    start: int


def windows(corpus: Corpus, split: str, excerpt: int) -> list[Window]:
    """The clips of a split cut into consecutive windows that cover every sample once."""
    return [
        Window(index, start)
        for index, clip in enumerate(corpus.clips)
        if clip.split == split
        for start in range(0, samples_of(corpus, clip), excerpt)
    ]


def _row(corpus: Corpus, clip: int, start: int, excerpt: int, speed: float) -> Batch:
    entry: Clip = corpus.clips[clip]
    remaining = samples_of(corpus, entry, speed) - start
    return {
        "audio": corpus.read(entry, start, excerpt, speed),
        "length": np.asarray(min(excerpt, remaining), np.int32),
        "clip": np.asarray(clip, np.int32),
    }


_READ = grain.ReadOptions(num_threads=4, prefetch_buffer_size=8)


def train_batches(
    corpus: Corpus,
    *,
    excerpt: int,
    batch_size: int,
    seed: int,
    speeds: Sequence[float] = (1.0,),
    start: int = 0,
) -> Iterator[Batch]:
    """Endless batches of random excerpts from the training clips.

    In an epoch each clip is drawn once for every excerpt length it has, so long clips count for
    more, in a new order each time. Batch k is the same for any number of threads and depends on
    ``seed`` and k alone, so the step number is all that a checkpoint has to keep.

    Args:
      corpus: to read from.
      excerpt: samples of each row.
      batch_size: rows.
      seed: of order, positions and speeds.
      speeds: one of these is drawn for each excerpt; how much faster to play it.
      start: the batch to begin with.
    """

    def draw(window: Window, rng: np.random.Generator) -> Batch:
        speed = speeds[int(rng.integers(len(speeds)))]
        free = samples_of(corpus, corpus.clips[window.clip], speed) - excerpt
        first = int(rng.integers(free + 1)) if free > 0 else 0
        return _row(corpus, window.clip, first, excerpt, speed)

    dataset = (
        grain.MapDataset.source(windows(corpus, "train", excerpt))
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(draw)
        .batch(batch_size, drop_remainder=True)
        .slice(slice(start, None))
    )
    return iter(dataset.to_iter_dataset(_READ))


def consecutive_batches(corpus: Corpus, split: str, *, excerpt: int, batch_size: int) -> "Batches":
    """The windows of a split in order, each once; the last batch is filled up with silence."""
    return Batches(corpus, windows(corpus, split, excerpt), excerpt, batch_size)


@dataclasses.dataclass(frozen=True)
class Batches:
    """A finite, repeatable sequence of batches of the same shape."""

    corpus: Corpus
    windows: Sequence[Window]
    excerpt: int
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        padding = len(self) * self.batch_size - len(self.windows)
        source = [*self.windows, *[Window(-1, 0)] * padding]
        dataset = grain.MapDataset.source(source).map(self._read).batch(self.batch_size)
        return iter(dataset.to_iter_dataset(_READ))

    def _read(self, window: Window) -> Batch:
        if window.clip >= 0:
            return _row(self.corpus, window.clip, window.start, self.excerpt, 1.0)
        silence = np.zeros(self.excerpt, np.float32)
        return {
            "audio": silence,
            "length": np.asarray(0, np.int32),
            "clip": np.asarray(-1, np.int32),
        }
