"""A folder of audio files as a corpus."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data import audio_file
from aejax.data import scan as scans
from aejax.data.corpus import Settings, select
from aejax.data.scan import Scan
from aejax.runtime.errors import DiskFull


class FolderCorpus:
    """A corpus of all usable audio files below a folder.

    Decoded clips are cached in memory, the shortest first, as many as fit in
    ``settings.cache_bytes``; excerpts of the others are read from their files.

    Args:
      root: the folder.
      scanned: its scan.
      settings: how to read it.

    Attributes:
      rows: row in ``scanned`` of each clip's file.
      labels: of all files.
    """

    def __init__(self, root: Path, scanned: Scan, settings: Settings):
        self.title = str(root)
        self.root = root
        self.scanned = scanned
        self.settings = settings
        self.sample_rate = settings.sample_rate
        self.channel_shape = settings.channel_shape
        self.split_by = settings.split_by
        selection = select(scanned, root, settings)
        self.clips, self.rows, self.skipped, self.labels, self.warnings = selection
        decoded = 4 * self.clips.samples * int(np.prod(self.channel_shape))
        order = np.argsort(decoded, kind="stable")
        self._cached = np.zeros(len(order), bool)
        self._cached[order] = np.cumsum(decoded[order]) <= settings.cache_bytes
        self._whole: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_whole": {}}  # worker processes fill their own cache

    def read(self, clip: int, start: int, length: int) -> np.ndarray:
        """See `Corpus.read`."""
        if not self._cached[clip]:
            return self._excerpt(clip, start, length)
        whole = self._whole.get(clip)
        if whole is None:
            whole = self._whole[clip] = self._excerpt(clip, 0, int(self.clips.samples[clip]))
        return audio_file.cut(whole, start, length)

    def _excerpt(self, clip: int, start: int, length: int) -> np.ndarray:
        path = self.root / self.clips.files[clip]
        facts, channel = self.scanned.facts[self.rows[clip]], int(self.clips.channel[clip])
        try:
            status = os.stat(path)
        except OSError as error:
            raise audio_file.OutOfReach(f"{audio_file.OUT_OF_REACH}: {error.strerror}") from None
        if (status.st_size, status.st_mtime_ns) != (facts["bytes"], facts["modified_ns"]):
            raise audio_file.UnusableAudio("changed since it was scanned")
        return audio_file.read_excerpt(
            path,
            start,
            length,
            sample_rate=self.sample_rate,
            channels=self.settings.channels,
            channel=channel if channel >= 0 else None,
            seeks=bool(facts["seeks"]),
        )


def open_folder(
    root: Path,
    settings: Settings,
    *,
    known: Scan | None = None,
    examine: Callable[..., Any] | None = None,
    progress: Callable[[Any, int, str], Any] = lambda items, total, desc: items,
) -> FolderCorpus:
    """Scans a folder and opens it as a corpus; the scan is cached in the user's home directory.

    Args:
      root: searched recursively.
      settings: how to read it.
      known: an earlier scan, used if the cache has none.
      examine, progress: see `aejax.data.scan.scan`.

    Raises:
      UserError: the folder does not exist, or holds no usable audio.
    """
    cache = scans.cache_path(root, settings.include)

    def save(scanned: Scan) -> None:
        if cache is not None:
            with contextlib.suppress(OSError, DiskFull):  # the cache is optional
                scans.save(cache, scanned)

    scanned = scans.scan(
        root,
        include=settings.include,
        known=scans.recall(root, settings.include) or known,
        examine=examine,
        save=save,
        progress=progress,
    )
    return FolderCorpus(root, scanned, settings)
