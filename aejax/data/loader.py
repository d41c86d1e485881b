"""Batches of audio from a corpus: seeded, shuffled, resumable, read ahead by threads."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypedDict

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


class Window(NamedTuple):
    """A stretch of a clip, ``start`` in samples at the corpus's rate; clip -1 for a filling row."""

    clip: int
    start: int


class Windows(Sequence[Window]):
    """The clips of a split cut into consecutive windows that cover every sample once.

    Windows are worked out when they are asked for: a few bytes are kept for each clip.

    Args:
      corpus: whose clips.
      split: which of them.
      excerpt: samples of a window.
      multiple: filling windows are added until their number is a multiple of this.
    """

    def __init__(self, corpus: Corpus, split: str, excerpt: int, multiple: int = 1):
        self._excerpt = excerpt
        self._clips = np.asarray(
            [index for index, clip in enumerate(corpus.clips) if clip.split == split], np.int64
        )
        samples = [samples_of(corpus, corpus.clips[index]) for index in self._clips]
        self._ends = np.cumsum([-(-count // excerpt) for count in samples])
        self._size = -(-int(self._ends[-1]) // multiple) * multiple

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._size:
            raise IndexError(index)
        place = int(np.searchsorted(self._ends, index, side="right"))
        if place == len(self._clips):
            return Window(-1, 0)
        before = int(self._ends[place - 1]) if place else 0
        return Window(int(self._clips[place]), (int(index) - before) * self._excerpt)


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
        grain.MapDataset.source(Windows(corpus, "train", excerpt))
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(draw)
        .batch(batch_size, drop_remainder=True)
        .slice(slice(start, None))
    )
    return iter(dataset.to_iter_dataset(_READ))


class Batches:
    """The windows of a split in order, each once, in batches of one shape; repeatable.

    The last batch is filled up with silence.

    Args:
      corpus, split: to read from.
      excerpt: samples of each row.
      batch_size: rows.
    """

    def __init__(self, corpus: Corpus, split: str, *, excerpt: int, batch_size: int):
        self._corpus, self._excerpt, self._batch_size = corpus, excerpt, batch_size
        self._windows = Windows(corpus, split, excerpt, multiple=batch_size)

    def __len__(self) -> int:
        return len(self._windows) // self._batch_size

    def __iter__(self) -> Iterator[Batch]:
        dataset = grain.MapDataset.source(self._windows).map(self._read).batch(self._batch_size)
        return iter(dataset.to_iter_dataset(_READ))

    def _read(self, window: Window) -> Batch:
        if window.clip >= 0:
            return _row(self._corpus, window.clip, window.start, self._excerpt, 1.0)
        silence = np.zeros(self._excerpt, np.float32)
        return {
            "audio": silence,
            "length": np.asarray(0, np.int32),
            "clip": np.asarray(-1, np.int32),
        }
