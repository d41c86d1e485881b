"""Packed corpora: decoded, resampled audio in a few large ArrayRecord files.

A pack is a folder with

- ``shard-*.array_record``: every clip's records one after the other (`aejax.data.record`);
- ``index.npz``: what was found in each file (`aejax.data.scan.Scan`), and where its records are;
- ``labels.csv``: the labels, if there are any;
- ``pack.json``, written last: how it was made, and every shard's SHA-256.

It is read without the files it was made from; splits, labels and batches are the same.
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
from aejax.errors import UserError
from aejax.runtime import files

VERSION = 1
# Where each file's records are: in which shard, from which record on, and whose name they bear.
PLACES = np.dtype([("shard", "i4"), ("first", "i8"), ("owner", "i8")])
_MOST_ABOUT, _MOST_SHARD = 64 << 20, 1 << 50  # bytes
_MOST_READERS = 64  # of which each has a file open
_READER = "readahead_buffer_size:0"  # excerpts are read here and there


def is_pack(path: Path) -> bool:
    """Whether a folder is a pack that was finished."""
    return (path / "pack.json").is_file()


class PackedCorpus:
    """A pack as a corpus.

    Args:
      root: the pack's folder.
      settings: of which the sample rate and the channels must be those it was packed with.

    Raises:
      UserError: it is damaged, or was packed with other settings.
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
            self._everything = everything = scans.from_arrays(columns)
            self._places = columns["places"]
            _check_places(self._places, everything, len(self.about["shards"]))
        except (ValueError, KeyError) as error:
            raise UserError(f"{root / 'index.npz'} is damaged ({error}); pack it again") from None
        chosen = np.arange(len(everything.names))
        if "*" not in settings.include:
            matching = [scans.matches(name, settings.include) for name in everything.names]
            chosen = chosen[matching]
            if not len(chosen):
                raise UserError(f"nothing in {root} matches data.include={settings.include}")
            everything = everything.take(chosen)
        self.scanned = everything
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
        place = self._places[self._rows[clip]]
        samples, channel = int(self.clips.samples[clip]), int(self.clips.channel[clip])
        first, last = start // CHUNK, (min(start + length, samples) - 1) // CHUNK
        if first > last or start >= samples:
            return np.zeros((length, *self.channel_shape), np.float32)
        begin = int(place["first"]) + max(0, channel) * -(-samples // CHUNK)
        try:
            data = self._reader(int(place["shard"])).read(
                list(range(begin + first, begin + last + 1))
            )
        except (OSError, ValueError, RuntimeError, IndexError, UserError) as error:
            reason = " ".join(str(error).split())
            raise UnusableAudio(f"unreadable in its shard: {reason}") from None
        # Of the same sound under several names, one is packed.
        name = self._everything.names[int(place["owner"])]
        name += f"[{channel + 1}]" if channel >= 0 else ""
        out = np.zeros((length, *self.channel_shape), np.float32)
        filled = 0
        for number, piece in enumerate(data, start=first):
            begin = number * CHUNK
            record = decode(piece, max(0, start - begin), start + length - begin)
            if (record.name, record.start) != (name, begin):
                raise UnusableAudio("another clip's record in its place")
            if record.audio.shape[1:] != (self.channel_shape or (1,)):
                raise UnusableAudio("a record of other channels")
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
            self._readers[shard] = reader  # as the last one used
            if len(self._readers) > _MOST_READERS:
                del self._readers[next(iter(self._readers))]
        return reader

    def damage(self, progress: Callable[[Any, int, str], Any]) -> dict[str, str]:
        """Compares every shard with its checksum: the reason by name, of those that differ."""
        found = {}
        for shard in progress(self.about["shards"], len(self.about["shards"]), "checking shards"):
            path = self.root / shard["name"]
            try:
                if sha256(path) != shard["sha256"]:
                    found[shard["name"]] = "its checksum is another; pack it again"
            except (OSError, UserError) as error:
                found[shard["name"]] = f"unreadable: {error}"
        return found


def about(root: Path) -> dict[str, Any]:
    """``pack.json``, checked as far as it is used.

    Raises:
      UserError: it is damaged, or of another version.
    """
    path = root / "pack.json"
    found = files.read_object(path, _MOST_ABOUT)
    shards = found.get("shards")
    good = (
        found.get("version") == VERSION
        and isinstance(found.get("channels"), str)
        and found["channels"] in audio_file.CHANNEL_POLICIES
        and type(found.get("sample_rate")) is int
        and 1000 <= found["sample_rate"] <= 1_000_000
        and isinstance(shards, list)
        and all(map(_is_shard, shards))
    )
    if not good:
        raise UserError(f"{path} is damaged (not of this version); pack it again")
    return found


def _is_shard(shard: Any) -> bool:
    """Its name must not lead out of the folder."""
    return (
        isinstance(shard, dict)
        and all(isinstance(shard.get(key), str) for key in ("name", "sha256"))
        and bool(re.fullmatch(r"shard-[0-9-]+of-[0-9]+\.array_record", shard["name"]))
    )


def _check_places(places: np.ndarray, everything: scans.Scan, shards: int) -> None:
    """Of each file that can be used, that its records are in one of the shards, and bear the name
    of a file whose records are the same."""
    count = len(everything.names)
    if places.dtype != PLACES or places.shape != (count,):
        raise ValueError("no places of this version")
    rows = np.flatnonzero(everything.usable())
    used = places[rows]
    for field, most in (("shard", shards), ("first", 2**62), ("owner", count)):
        everywhere = places[field]  # of a file that cannot be used there may be nothing, -1
        if used[field].min(initial=0) < 0 or everywhere.min(initial=0) < -1:
            raise ValueError(f"{field} beyond all reason")
        if (everywhere >= most).any():
            raise ValueError(f"{field} beyond all reason")
    owners, facts = used["owner"], everything.facts
    if (places[owners] != used).any() or (facts[owners]["frames"] != facts[rows]["frames"]).any():
        raise ValueError("records of another file")


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with files.open_regular(path, _MOST_SHARD, follow=True) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
