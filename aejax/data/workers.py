"""Prefetching of audio by threads or processes."""

import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import grain
from absl import flags

from aejax.data.audio_file import UnusableAudio
from aejax.data.corpus import Corpus
from aejax.runtime.errors import UserError


class Workers(NamedTuple):
    """Settings of the workers: see ``config.data``. They do not change the batches.

    Attributes:
      number: number of workers; 0 reads in the caller's thread.
      kind: "thread" or "process".
      report: called once with a message for each clip that could no longer be read.
    """

    number: int = 4
    kind: str = "thread"
    report: Callable[[str], None] = lambda message: None

    def read(self, dataset: grain.MapDataset, corpora: Mapping[str, Corpus]) -> Iterator[Any]:
        """The elements of a dataset in order, prefetched.

        Args:
          dataset: of batches.
          corpora: by the key in the batch of the indices of their lost clips.

        Raises:
          UserError: a worker process died, or too many clips are unreadable.
        """
        processes = self.number if self.kind == "process" else 0
        threads = 1 if processes else self.number
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        iterable = dataset.to_iter_dataset(options)
        if processes:
            if not flags.FLAGS.is_parsed():  # grain reads its own flags
                flags.FLAGS.mark_as_parsed()
            iterable = iterable.mp_prefetch(
                grain.MultiprocessingOptions(processes, per_worker_buffer_size=2),
                worker_init_fn=_ignore_interrupts,
            )
        reported: set[tuple[str, int]] = set()
        try:
            for batch in iterable:
                for key, corpus in corpora.items():
                    lost = {(key, clip) for clip in batch[key].tolist() if clip >= 0}
                    for _, clip in sorted(lost - reported):
                        self.report(why_lost(corpus, clip))
                    reported |= lost
                yield batch
        except RuntimeError as error:
            if "terminated unexpectedly" not in str(error):
                raise
            raise UserError(
                "a worker process died (out of memory?); repeat the command to resume from the"
                " last checkpoint; a lower data.workers needs less memory"
            ) from None


def _ignore_interrupts(index: int, count: int) -> None:
    """Ignores Ctrl-C, which all processes of a terminal receive; the run ends its workers."""
    del index, count
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def why_lost(corpus: Corpus, clip: int) -> str:
    """A message about a clip that cannot be read, with the reason."""
    try:
        corpus.read(clip, 0, int(corpus.clips.samples[clip]))
        reason = "was temporarily unreadable"
    except UnusableAudio as error:
        reason = str(error)
    return f"{corpus.clips.name(clip)}: {reason}; the run continues without it"


THREADS = Workers()
