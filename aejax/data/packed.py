"""Packed corpora: decoded, resampled audio in a few large ArrayRecord files.

A pack is a folder with

- ``shard-*.array_record``: every clip's records in order (`aejax.data.record`);
- ``index.npz``: the scan of the files (`aejax.data.scan.Scan`) and the positions of their records;
- ``labels.csv``: the labels, if any;
- ``pack.json``, written last: its settings, and every shard's SHA-256.

The original files are not needed; splits, labels and batches are the same.
"""

import hashlib
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from aejax.data import audio_file, table
from aejax.data import scan as scans
from aejax.data.audio_file import UnusableAudio
from aejax.data.corpus import Settings, select
from aejax.data.record import CHUNK, decode
from aejax.runtime import files
from aejax.runtime.errors import UserError

VERSION = 1
# For each file: its shard, the index of its first record there, and the row of the file that the
# records name, the first of several with the same sound.
LOCATIONS = np.dtype([("shard", "i4"), ("first", "i8"), ("owner", "i8")])
_MOST_ABOUT, _MOST_SHARD = 64 << 20, 1 << 50  # bytes
_MOST_READERS = 64  # each has a file open
_READER = "readahead_buffer_size:0"  # excerpts are read in random order


def is_pack(path: Path) -> bool:
    """Whether a folder is a finished pack."""
    return (path / "pack.json").is_file()


class PackedCorpus:
    """A pack as a corpus.

    Args:
      root: the pack's folder.
      settings: its sample rate and channels must be those of the pack.

    Raises:
      UserError: the pack is damaged, or differs in sample rate or channels.
    """

    def __init__(self, root: Path, settings: Settings):
        self.title = f"{root} (packed)"
        self.root = root
        self.sample_rate = settings.sample_rate
        self.channel_shape = settings.channel_shape
        self.about = about(root)
        for key in ("sample_rate", "channels"):
            if self.about[key] != getattr(settings, key):
                raise UserError(
                    f"{root} was packed with {key}={self.about[key]}; set"
                    f" data.{key}={self.about[key]}, or pack it again with"
                    f" --{key}={getattr(settings, key)}"
                )
        columns = table.load_arrays(root / "index.npz", remedy="pack it again")
        try:
            self._all_files = all_files = scans.from_arrays(columns)
            self._locations = columns["places"]
            _check_locations(self._locations, all_files, len(self.about["shards"]))
        except (ValueError, KeyError) as error:
            raise UserError(f"{root / 'index.npz'} is damaged ({error}); pack it again") from None
        chosen = np.arange(len(all_files.names))
        if "*" not in settings.include:
            matching = [scans.matches(name, settings.include) for name in all_files.names]
            chosen = chosen[matching]
            if not len(chosen):
                raise UserError(f"nothing in {root} matches data.include={settings.include}")
            all_files = all_files.take(chosen)
        self.scanned = all_files
        self.split_by = settings.split_by
        self.clips, rows, self.skipped, _, self.warnings = select(self.scanned, root, settings)
        self._rows = chosen[rows]
        self._readers: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"} | {
            "_readers": {}
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def read(self, clip: int, start: int, length: int) -> np.ndarray:
        """See `Corpus.read`."""
        location = self._locations[self._rows[clip]]
        samples, channel = int(self.clips.samples[clip]), int(self.clips.channel[clip])
        first, last = start // CHUNK, (min(start + length, samples) - 1) // CHUNK
        if first > last or start >= samples:
            return np.zeros((length, *self.channel_shape), np.float32)
        begin = int(location["first"]) + max(0, channel) * -(-samples // CHUNK)
        try:
            data = self._reader(int(location["shard"])).read(
                list(range(begin + first, begin + last + 1))
            )
        except (OSError, ValueError, RuntimeError, IndexError, UserError) as error:
            reason = " ".join(str(error).split())
            raise UnusableAudio(f"unreadable in its shard: {reason}") from None
        # Files with the same sound share the records of the first.
        name = self._all_files.names[int(location["owner"])]
        name += f"[{channel + 1}]" if channel >= 0 else ""
        out = np.zeros((length, *self.channel_shape), np.float32)
        filled = 0
        for number, piece in enumerate(data, start=first):
            begin = number * CHUNK
            record = decode(piece, max(0, start - begin), start + length - begin)
            if (record.name, record.start) != (name, begin):
                raise UnusableAudio("the record of another clip")
            if record.audio.shape[1:] != (self.channel_shape or (1,)):
                raise UnusableAudio("a record with other channels")
            audio = record.audio if self.channel_shape else record.audio[:, 0]
            out[filled : filled + len(audio)] = audio
            filled += len(audio)
        return out

    def _reader(self, shard: int) -> Any:
        with self._lock:
            reader = self._readers.pop(shard, None)
            if reader is None:
                path = self.root / self.about["shards"][shard]["name"]
                files.open_regular(path, _MOST_SHARD, follow=True).close()
                reader = ArrayRecordReader(str(path), _READER)
            self._readers[shard] = reader  # now the most recently used
            if len(self._readers) > _MOST_READERS:
                del self._readers[next(iter(self._readers))]
        return reader

    def damage(self, progress: Callable[[Any, int, str], Any]) -> dict[str, str]:
        """What is wrong with each damaged shard, by name; checks all checksums."""
        damaged = {}
        for shard in progress(self.about["shards"], len(self.about["shards"]), "checking shards"):
            path = self.root / shard["name"]
            try:
                if sha256(path) != shard["sha256"]:
                    damaged[shard["name"]] = "its checksum does not match; pack it again"
            except (OSError, UserError) as error:
                damaged[shard["name"]] = f"unreadable: {error}"
        return damaged


def about(root: Path) -> dict[str, Any]:
    """The content of ``pack.json``, with the fields used here checked.

    Raises:
      UserError: the file is damaged or of another version.
    """
    path = root / "pack.json"
    content = files.read_object(path, _MOST_ABOUT)
    shards = content.get("shards")
    good = (
        content.get("version") == VERSION
        and isinstance(content.get("channels"), str)
        and content["channels"] in audio_file.CHANNEL_POLICIES
        and type(content.get("sample_rate")) is int
        and 1000 <= content["sample_rate"] <= 1_000_000
        and isinstance(shards, list)
        and all(map(_is_shard, shards))
    )
    if not good:
        raise UserError(f"{path} is damaged (not of this version); pack it again")
    return content


def _is_shard(shard: Any) -> bool:
    """Whether this describes a shard whose name stays inside the folder."""
    return (
        isinstance(shard, dict)
        and all(isinstance(shard.get(key), str) for key in ("name", "sha256"))
        and bool(re.fullmatch(r"shard-[0-9-]+of-[0-9]+\.array_record", shard["name"]))
    )


def _check_locations(locations: np.ndarray, all_files: scans.Scan, shards: int) -> None:
    """Raises `ValueError` unless each usable file has records in a shard, its own or those of a
    file of the same length."""
    count = len(all_files.names)
    if locations.dtype != LOCATIONS or locations.shape != (count,):
        raise ValueError("not of this version")
    rows = np.flatnonzero(all_files.usable())
    used = locations[rows]
    for field, most in (("shard", shards), ("first", 2**62), ("owner", count)):
        values = locations[field]  # unusable files may have -1
        if used[field].min(initial=0) < 0 or values.min(initial=0) < -1:
            raise ValueError(f"{field} out of range")
        if (values >= most).any():
            raise ValueError(f"{field} out of range")
    owners, facts = used["owner"], all_files.facts
    if (locations[owners] != used).any() or (
        facts[owners]["frames"] != facts[rows]["frames"]
    ).any():
        raise ValueError("records of another file")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with files.open_regular(path, _MOST_SHARD, follow=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
