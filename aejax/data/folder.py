"""A folder of audio files as a corpus."""

import concurrent.futures
import dataclasses
import fnmatch
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data import audio_file
from aejax.data.corpus import Clip, samples_of, split_units
from aejax.errors import UserError


class FolderCorpus:
    """All usable audio files below a folder.

    Corpora whose audio fits in ``cache_bytes`` once decoded are kept in memory as they are read;
    of larger ones each excerpt is read from its file.
    """

    def __init__(
        self,
        root: Path,
        clips: Sequence[Clip],
        skipped: dict[str, str],
        *,
        sample_rate: int,
        channels: str,
        cache_bytes: int,
    ):
        self.title = str(root)
        self.root = root
        self.clips = tuple(clips)
        self.skipped = skipped
        self.sample_rate = sample_rate
        self.channels = channels
        decoded = 4 * sum(samples_of(self, clip) for clip in self.clips)
        self._whole = functools.cache(self._decode) if decoded <= cache_bytes else None

    def _decode(self, clip_name: str, length: int) -> np.ndarray:
        return self._excerpt(clip_name, 0, length, 1.0)

    def _excerpt(self, clip_name: str, start: int, length: int, speed: float) -> np.ndarray:
        try:
            return audio_file.read_excerpt(
                self.root / clip_name,
                start,
                length,
                sample_rate=self.sample_rate,
                channels=self.channels,
                speed=speed,
            )
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{self.root / clip_name} was readable when the run began and is not any more"
                f" ({' '.join(str(error).split())}); put it back, or start a new run"
            ) from None

    def read(self, clip: Clip, start: int, length: int, speed: float = 1.0) -> np.ndarray:
        """See `Corpus.read`."""
        if self._whole is None:
            return self._excerpt(clip.name, start, length, speed)
        whole = self._whole(clip.name, samples_of(self, clip))
        return audio_file.resampled_excerpt(
            lambda first, count: whole[first : first + count],
            len(whole),
            round(self.sample_rate * speed),
            start,
            length,
            self.sample_rate,
        )


def scan(
    root: Path,
    *,
    sample_rate: int,
    channels: str = "mono",
    split_by: str = "file",
    include: Sequence[str] = ("*",),
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    split_seed: int = 0,
    cache_bytes: int = 0,
    known: dict[str, dict[str, Any]] | None = None,
    progress: Callable[[Any, int], Any] = lambda items, total: items,
) -> tuple[FolderCorpus, dict[str, dict[str, Any]]]:
    """Finds every audio file below ``root`` and reads each from end to end once.

    Args:
      root: searched recursively.
      sample_rate, channels: of what will be read (see `audio_file.read_excerpt`).
      split_by: "file", or "folder" to keep each top-level folder in one split.
      include: glob patterns; a file counts if its path below ``root`` matches any.
      validation_fraction, test_fraction: of the files or folders.
      split_seed: another one draws other files or folders.
      cache_bytes: see `FolderCorpus`.
      known: what an earlier scan found; files of the same size and time are not read again.
      progress: wraps an iterable of a given length, for a progress bar.

    Returns:
      The corpus, and what was found in each file, to be given as ``known`` the next time.

    Raises:
      UserError: the folder is not there, or holds no usable audio.
    """
    names = _find(root, include)
    look = functools.partial(_look, root, known or {})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        entries = dict(zip(names, progress(pool.map(look, names), len(names)), strict=True))
    skipped = {name: entry["skipped"] for name, entry in entries.items() if "skipped" in entry}
    usable = [name for name in names if name not in skipped]
    if not usable:
        first = next(iter(skipped))
        raise UserError(
            f"none of the {len(skipped)} audio files below data.path={root} can be used;"
            f" the first, {first}: {skipped[first]}"
        )
    units = _units(root, usable, split_by)
    split = split_units(sorted(set(units.values())), validation_fraction, test_fraction, split_seed)
    clips = [
        Clip(
            name=name,
            frames=entries[name]["frames"],
            sample_rate=entries[name]["sample_rate"],
            channels=entries[name]["channels"],
            split=split[units[name]],
            labels={"folder": Path(name).parts[0]} if len(Path(name).parts) > 1 else {},
        )
        for name in usable
    ]
    corpus = FolderCorpus(
        root, clips, skipped, sample_rate=sample_rate, channels=channels, cache_bytes=cache_bytes
    )
    return corpus, entries


def _find(root: Path, include: Sequence[str]) -> list[str]:
    """Names of the audio files that count, at least one."""
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise UserError(f"data.path={root} {what}; give a folder of audio files")
    names = [name for name in _audio_names(root) if _matches(name, include)]
    if not names:
        pattern = "" if tuple(include) == ("*",) else f" that match data.include={tuple(include)}"
        raise UserError(
            f"no audio files{pattern} below data.path={root}"
            f" (looked for {' '.join(sorted(audio_file.SUFFIXES))})"
        )
    return names


def _units(root: Path, names: Sequence[str], split_by: str) -> dict[str, str]:
    """What each file moves between splits with: itself, or its top-level folder."""
    if split_by == "file":
        return {name: name for name in names}
    if all(len(Path(name).parts) == 1 for name in names):
        raise UserError(
            f"data.split_by='folder' needs audio in sub-folders, and data.path={root} has none;"
            " use data.split_by='file'"
        )
    return {name: Path(name).parts[0] for name in names}


def _audio_names(root: Path) -> list[str]:
    """Paths of audio files below ``root``, sorted.

    Links to folders are not followed, and the folders of aejax's own runs are left out: what they
    hold is made from the corpus.
    """
    names = []
    for folder, below, files in os.walk(root):
        if {"config.json", "corpus.json"} <= set(files):
            below.clear()
            continue
        for file in files:
            path = Path(folder, file)
            if path.suffix.lower() in audio_file.SUFFIXES and not file.startswith("."):
                names.append(path.relative_to(root).as_posix())
    return sorted(names)


def _matches(name: str, include: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in include)


def _look(root: Path, known: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    path = root / name
    try:
        stat = path.stat()
    except OSError as error:
        return {"skipped": f"unreadable: {error.strerror}"}
    stamp = {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
    if known.get(name, {}).items() >= stamp.items():
        return known[name]
    try:
        return stamp | dataclasses.asdict(audio_file.examine(path))
    except audio_file.UnusableAudio as reason:
        return stamp | {"skipped": str(reason)}
