"""Batches of audio from a corpus: seeded, shuffled, resumable, sharded and prefetched."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import grain
import numpy as np

from aejax.data.audio_file import UnusableAudio
from aejax.data.corpus import Corpus
from aejax.data.workers import THREADS, Workers, why_lost
from aejax.runtime.errors import UserError

# Consecutive unreadable excerpts that are an error.
_MOST_LOST = 16


class Batch(TypedDict):
    """A batch of audio on the host.

    Attributes:
      audio: float32 ``[batch, samples]``, or ``[batch, samples, 2]`` for stereo.
      length: int32 ``[batch]``, samples before the clip's end; the rest of the row is silence. 0
        marks a padding row.
      clip: int32 ``[batch]``, index in the corpus's clips.
      start: uint32 ``[batch]``, in evaluation, the row's first sample in its clip, modulo 2**32.
      position: float32 ``[batch]``, relative position of the row in its clip, 0 to 1. Shorter
        excerpts of the row are taken at the same position, so that they are uniform in the clip.
      lost: int32 ``[batch]``, index of a clip that could no longer be read, -1 for none. Another
        clip replaces it in training; in evaluation the row does not count.
      noise: of the shape of ``audio``; only with a corpus of noise.
      noise_lost: int32 ``[batch]``, as ``lost``, for the noise corpus.
    """

    audio: np.ndarray
    length: np.ndarray
    clip: np.ndarray
    start: NotRequired[np.ndarray]
    position: np.ndarray
    lost: np.ndarray
    noise: NotRequired[np.ndarray]
    noise_lost: NotRequired[np.ndarray]


class Window(NamedTuple):
    """A stretch of a clip, ``start`` in samples at the corpus's rate; clip -1 for a padding row."""

    clip: int
    start: int


class Windows(Sequence[Window]):
    """The clips of a split cut into consecutive windows that cover every sample once.

    Windows are computed on access, from a few bytes for each clip.

    Args:
      corpus, split: the clips.
      excerpt: samples of a window.
      multiple: padding windows are added until their number is a multiple of this.
      equal: one window per clip, whatever its duration.
    """

    def __init__(
        self, corpus: Corpus, split: str, excerpt: int, multiple: int = 1, equal: bool = False
    ):
        self._excerpt = excerpt
        self._clips = corpus.clips.of_split(split)
        samples = corpus.clips.samples[self._clips]
        counts = np.ones_like(samples) if equal else -(-samples // excerpt)
        self._ends = np.cumsum(counts)
        self._size = -(-int(counts.sum()) // multiple) * multiple

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._size:
            raise IndexError(index)
        position = int(np.searchsorted(self._ends, index, side="right"))
        if position == len(self._clips):
            return Window(-1, 0)
        before = int(self._ends[position - 1]) if position else 0
        return Window(int(self._clips[position]), (int(index) - before) * self._excerpt)


def spread(items: Sequence[Any], most: int) -> Sequence[Any]:
    """A stratified sample: one item from each of ``most`` equal parts, in a fixed random order. All
    items in order if there are no more than ``most``."""
    if len(items) <= most:
        return items
    rng, ends = np.random.default_rng(0), np.linspace(0, len(items), most + 1).astype(int)
    return [items[int(i)] for i in rng.permutation(rng.integers(ends[:-1], ends[1:]))]


class Drawing(NamedTuple):
    """Settings of random excerpts: see ``config.data``.

    Attributes:
      length: samples of an excerpt.
      equal: all clips are drawn equally often, instead of in proportion to their duration.
      silence_db: excerpts of a level below this, dB re full scale, are drawn again.
      redraws: most redraws from the same clip; then the loudest excerpt is taken.
    """

    length: int
    equal: bool = False
    silence_db: float = -60.0
    redraws: int = 0


def train_batches(
    corpus: Corpus,
    *,
    excerpt: int,
    batch_size: int,
    seed: int,
    start: int = 0,
    drawing: Drawing | None = None,
    noise: Corpus | None = None,
    workers: Workers = THREADS,
    shard: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Endless batches of random excerpts from the training clips.

    An epoch draws each clip once for every excerpt length it holds, in a new order each time, so
    long clips are drawn more often. Batch k depends only on ``seed`` and k, not on the workers, so
    a checkpoint stores only the step number.

    Args:
      corpus: to read from.
      excerpt: samples that count as one draw.
      batch_size: rows of all shards together.
      seed: of order and positions.
      start: index of the first batch.
      drawing: settings of an excerpt; by default of ``excerpt`` samples.
      noise: the corpus that each row's noise is drawn from.
      workers: threads or processes that read.
      shard: this process's index and the number of processes. Each reads its rows of every batch;
        together these are the batches of a single process.

    Raises:
      UserError: the batch size is no multiple of the number of processes.
    """
    index, count = shard
    if batch_size % count:
        raise UserError(f"a batch of {batch_size} cannot be divided among {count} processes")
    drawing = drawing or Drawing(excerpt)
    windows = Windows(corpus, "train", excerpt, equal=drawing.equal)
    noises = None if noise is None else Windows(noise, "train", excerpt)
    dataset = (
        grain.MapDataset.source(windows)
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(_Draw(corpus, windows, drawing, noise, noises))
        .batch(batch_size // count, drop_remainder=True)
        .slice(slice(start * count + index, None, count))
    )
    return workers.read(
        dataset, {"lost": corpus} | ({} if noise is None else {"noise_lost": noise})
    )


@dataclasses.dataclass(frozen=True)
class _Draw:
    """Draws a row of a batch for a window: an excerpt of the window's clip, and its noise."""

    corpus: Corpus
    windows: Windows
    drawing: Drawing
    noise: Corpus | None = None
    noises: Windows | None = None

    def __call__(self, window: Window, rng: np.random.Generator) -> Batch:
        row = self._excerpt(window, rng)
        if self.noise is not None and self.noises is not None:
            row["noise"], row["noise_lost"] = _noise(
                self.noise, self.noises, self.drawing.length, rng
            )
        return row

    def _excerpt(self, window: Window, rng: np.random.Generator) -> Batch:
        """A row from the window's clip, or from a random clip if that is unreadable."""
        length, lost = self.drawing.length, -1
        for _ in range(_MOST_LOST):
            samples = int(self.corpus.clips.samples[window.clip])
            try:
                position, audio = self._draw(window.clip, samples, rng)
            except UnusableAudio:
                lost = window.clip
                window = self.windows[int(rng.integers(len(self.windows)))]
                continue
            return {
                "audio": audio,
                "length": np.asarray(min(length, samples), np.int32),
                "clip": np.asarray(window.clip, np.int32),
                "position": np.asarray(position, np.float32),
                "lost": np.asarray(lost, np.int32),
            }
        raise UserError(
            f"{_MOST_LOST} clips in a row could not be read; the last was"
            f" {why_lost(self.corpus, lost).rpartition(';')[0]}"
        )

    def _draw(self, clip: int, samples: int, rng: np.random.Generator) -> tuple[float, np.ndarray]:
        """Relative position and audio of the first excerpt that is not silent, else of the
        loudest."""
        length, redraws = self.drawing.length, self.drawing.redraws
        free = max(0, samples - length)
        loudest, best = -1.0, (0.0, np.zeros(0, np.float32))
        for _ in range(1 + redraws):
            position = float(rng.random(dtype=np.float32))
            audio = self.corpus.read(clip, round(position * free), length)
            if not redraws:
                return position, audio
            level = float(np.mean(np.square(audio)))
            if level > loudest:
                loudest, best = level, (position, audio)
            if level >= 10 ** (self.drawing.silence_db / 10) or not free:
                break
        return best


def _noise(
    noise: Corpus, windows: Windows, length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An excerpt of noise, repeated if it is too short, and the index of a lost clip or -1."""
    window = windows[int(rng.integers(len(windows)))]
    row = _Draw(noise, windows, Drawing(length))(window, rng)
    audio = row["audio"][: int(row["length"])]
    return np.resize(audio, (length, *audio.shape[1:])), row["lost"]


class Batches:
    """Batches of the windows of a split in order, each once; can be iterated again.

    All have the same shape: the last batch is padded with silent rows.

    Args:
      corpus, split: to read from.
      excerpt: samples of each row.
      batch_size: rows.
      noise: noise for each row.
      workers: threads or processes that read.
      most: most windows, spread over the split and in a random order; None for all.
      shard: this process's index and the number of processes. Each reads its rows of every batch.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        *,
        excerpt: int,
        batch_size: int,
        noise: "TestNoise | None" = None,
        workers: Workers = THREADS,
        most: int | None = None,
        shard: tuple[int, int] = (0, 1),
    ):
        self._shard = shard
        self._corpus, self._batch_size, self._workers = corpus, batch_size, workers
        self._windows: Sequence[Window] = Windows(corpus, split, excerpt, multiple=batch_size)
        if most is not None:
            self._windows = spread(self._windows, -(-most // batch_size) * batch_size)
        self._read = _Read(corpus, excerpt, noise)
        self._lost = {"lost": corpus} | ({} if noise is None else {"noise_lost": noise.corpus})

    def __len__(self) -> int:
        return len(self._windows) // self._batch_size

    def __iter__(self) -> Iterator[Batch]:
        index, count = self._shard
        dataset = (
            grain.MapDataset.source(self._windows)
            .map(self._read)
            .batch(self._batch_size // count)
            .slice(slice(index, None, count))
        )
        return self._workers.read(dataset, self._lost)


class TestNoise:
    """Noise for evaluation, determined by the window.

    Args:
      corpus, split: to read from.
      length: samples of an excerpt.
    """

    __test__ = False  # not a test, in spite of its name

    def __init__(self, corpus: Corpus, split: str, length: int):
        self.corpus, self._length = corpus, length
        self._windows = Windows(corpus, split, length)

    def __call__(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """The noise for a window of audio, float32 ``[length, *channels]``, and the index of a lost
        clip or -1."""
        rng = np.random.default_rng([window.clip + 1, window.start])
        return _noise(self.corpus, self._windows, self._length, rng)


@dataclasses.dataclass(frozen=True)
class _Read:
    """Reads the row of a batch for a window."""

    corpus: Corpus
    excerpt: int
    noise: TestNoise | None

    def __call__(self, window: Window) -> Batch:
        audio = np.zeros((self.excerpt, *self.corpus.channel_shape), np.float32)
        length, lost = 0, -1
        if window.clip >= 0:
            remaining = int(self.corpus.clips.samples[window.clip]) - window.start
            try:
                audio = self.corpus.read(window.clip, window.start, self.excerpt)
                length = min(self.excerpt, remaining)
            except UnusableAudio:
                lost = window.clip
        row: Batch = {
            "audio": audio,
            "length": np.asarray(length, np.int32),
            "clip": np.asarray(window.clip, np.int32),
            "start": np.asarray(window.start % 2**32, np.uint32),
            "position": np.zeros((), np.float32),
            "lost": np.asarray(lost, np.int32),
        }
        if self.noise is not None:
            row["noise"], row["noise_lost"] = self.noise(window)
        return row
