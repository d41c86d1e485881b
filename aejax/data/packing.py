"""Packing of a folder; `aejax.data.packed` describes the format."""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from aejax.data import audio_file, labels, packed, table
from aejax.data import scan as scans
from aejax.data.corpus import Settings, duplicates
from aejax.data.folder import FolderCorpus
from aejax.data.record import CHUNK, Record, encode
from aejax.data.table import Strings
from aejax.runtime import files
from aejax.runtime.errors import UserError
from aejax.runtime.threads import cores, thread_map

_MOST_NOTE = 64 << 20  # bytes
_PIECE = 1 << 9  # records decoded at a time: 64 MB per channel
_WRITER = "group_size:1,uncompressed"  # any record can be read alone


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of the pack, and the rows of the scan in it."""

    name: str
    rows: range


def pack(
    source: FolderCorpus,
    out: Path,
    *,
    encoding: str = "pcm16",
    shard_bytes: int = 1 << 28,
    jobs: int | None = None,
    write: Callable[..., Iterator[int]] | None = None,
    progress: Callable[[Any, int, str], Any] = lambda items, total, desc: items,
) -> None:
    """Packs a corpus in parallel; resumes an interrupted attempt.

    Files that can no longer be read are left out; the pack lists them with the reason.

    Args:
      source: the corpus.
      out: a folder, created if it does not exist.
      encoding: one of `record.ENCODINGS`: "pcm16" is fastest, "flac" smallest, "float32" exact.
      shard_bytes: approximate size of a shard, before FLAC compression.
      jobs: threads; by default the number of cores.
      write: called with the first four arguments of `write_shards` instead of it.
      progress: wraps an iterable of known length, for a progress bar.

    Raises:
      UserError: ``out`` holds something else, or another pack.
    """
    settings = prepare(out, source.settings, encoding, shard_bytes)
    write = write or functools.partial(write_shards, jobs=jobs)
    with files.lock_folder(out):
        plan = plan_shards(source, settings)
        written = write(source, out, settings, plan)
        for _ in progress(written, len(source.scanned.names), "packing"):
            pass
        _finish(source, out, settings, plan)


def _finish(source: FolderCorpus, out: Path, settings: dict[str, Any], plan: list[Shard]) -> None:
    """Writes the index of the shards, which makes a pack of the folder."""
    count, finished = len(source.scanned.names), [_read_note(out, part) for part in plan]
    locations = np.full(count, -1, packed.LOCATIONS)
    locations["first"] = 0
    problems = list(source.scanned.problems)
    for number, (part, done) in enumerate(zip(plan, finished, strict=True)):
        for row, first in zip(part.rows, done["first"], strict=True):
            if first >= 0:
                locations[row] = (number, first, row)
        for row, reason in done["problems"].items():
            problems[int(row)] = reason
    # Files with the same sound share their records; a reader may include only one of the names.
    for row, first in duplicates(source.scanned).items():
        locations[row], problems[row] = locations[first], problems[first]
    scanned = dataclasses.replace(source.scanned, problems=Strings.of(problems))
    table.save_arrays(out / "index.npz", scans.as_arrays(scanned) | {"places": locations})
    if source.labels.rows:
        labels.save(out / "labels.csv", source.labels)
    shards = [{key: done[key] for key in ("name", "bytes", "sha256")} for done in finished]
    _write_json(out / "pack.json", settings | {"shards": shards})
    for path in out.glob("shard-*"):  # notes, and shards of an attempt whose files have changed
        if path.name not in {part.name for part in plan}:
            path.unlink()
    (out / "packing.json").unlink()


def prepare(out: Path, source: Settings, encoding: str, shard_bytes: int) -> dict[str, Any]:
    """Creates the folder and records the settings of the pack in it; returns them.

    Raises:
      UserError: the folder holds something else, or another pack.
    """
    settings = {
        "version": packed.VERSION,
        "sample_rate": source.sample_rate,
        "channels": source.channels,
        "encoding": encoding,
        "shard_bytes": shard_bytes,
    }
    settings_path = out / "packing.json"
    if packed.is_pack(out):
        raise UserError(f"{out} holds a finished pack; give another folder")
    if settings_path.is_file():
        if files.read_json(settings_path, _MOST_NOTE) != settings:
            raise UserError(
                f"{out} holds an unfinished pack with other settings; give another folder"
            )
    elif out.exists() and not (out.is_dir() and files.is_empty(out)):
        raise UserError(f"{out} exists and is not a pack; give another folder")
    else:
        out.mkdir(parents=True, exist_ok=True)
        _write_json(settings_path, settings)
    return settings


def plan_shards(source: FolderCorpus, settings: dict[str, Any]) -> list[Shard]:
    """Splits the files, in the order of their names, into shards of about ``shard_bytes``."""
    width = 4 if settings["encoding"] == "float32" else 2
    size = np.zeros(len(source.scanned.names), np.int64)
    samples = source.clips.samples * int(np.prod(source.channel_shape))
    np.add.at(size, source.rows, samples * width)
    shard = (np.cumsum(size) - size) // settings["shard_bytes"]
    cuts = [0, *(np.flatnonzero(np.diff(shard)) + 1).tolist(), len(size)]
    names = [
        f"shard-{number:05d}-of-{len(cuts) - 1:05d}.array_record" for number in range(len(cuts) - 1)
    ]
    return [
        Shard(name, range(begin, end))
        for name, begin, end in zip(names, cuts[:-1], cuts[1:], strict=True)
    ]


def write_shards(
    source: FolderCorpus,
    out: Path,
    settings: dict[str, Any],
    plan: list[Shard],
    jobs: int | None = None,
) -> Iterator[int]:
    """Writes the shards that are missing or damaged, in order; yields each file's row.

    What a shard holds is noted beside it until all are finished.
    """
    for part in plan:
        path, identity = out / part.name, _identity(source, part)
        done = _read_note(out, part)
        same = done.get("identity") == identity and not done["problems"] and path.is_file()
        if same and packed.sha256(path) == done["sha256"]:
            yield from part.rows
            continue
        done = {"name": part.name, "identity": identity, "problems": {}, "first": []}
        with files.atomic_write(path) as temporary:
            encoding, threads = settings["encoding"], jobs or cores()
            yield from _write_shard(source, temporary, part, encoding, threads, done)
            done |= {"bytes": temporary.stat().st_size, "sha256": packed.sha256(temporary)}
        _write_json(_note(out, part), done)


def _note(out: Path, part: Shard) -> Path:
    return out / f"{part.name}.json"


def _read_note(out: Path, part: Shard) -> dict[str, Any]:
    """The dictionary stored beside a shard; empty if there is none or it is damaged."""
    with contextlib.suppress(UserError):
        done = files.read_object(_note(out, part), _MOST_NOTE)
        kinds = {"problems": dict, "first": list, "name": str, "sha256": str, "bytes": int}
        if all(isinstance(done.get(key), kind) for key, kind in kinds.items()):
            return done
    return {}


def _write_shard(
    source: FolderCorpus,
    path: Path,
    part: Shard,
    encoding: str,
    jobs: int,
    done: dict[str, Any],
) -> Iterator[int]:
    writer = ArrayRecordWriter(str(path), _WRITER)
    pieces = [
        (row, clip, start)
        for row in part.rows
        for clip in range(*np.searchsorted(source.rows, [row, row + 1]).tolist())
        for start in range(0, int(source.clips.samples[clip]), _PIECE * CHUNK)
    ]
    coded = thread_map(
        lambda piece: _encode(source, piece[1], piece[2], encoding),
        pieces,
        threads=jobs,
        ahead=jobs,
    )
    records, first = 0, dict[int, int]()
    try:
        for (row, _, _), result in zip(pieces, coded, strict=True):
            first.setdefault(row, records)
            if isinstance(result, str):
                done["problems"][row] = result
                continue
            for data in result:
                writer.write(data)
            records += len(result)
            yield row
    finally:
        writer.close()
    done["first"] = [first.get(row, -1) for row in part.rows]


def _encode(source: FolderCorpus, clip: int, start: int, encoding: str) -> list[bytes] | str:
    """The records of a piece of a clip, or the reason why it cannot be read."""
    length = min(_PIECE * CHUNK, int(source.clips.samples[clip]) - start)
    try:
        audio = source.read(clip, start, length).reshape(length, -1)
    except audio_file.UnusableAudio as reason:
        return str(reason)
    name = source.clips.name(clip)
    return [
        encode(
            Record(encoding, source.sample_rate, start + first, audio[first : first + CHUNK], name)
        )
        for first in range(0, length, CHUNK)
    ]


def _identity(source: FolderCorpus, part: Shard) -> str:
    """A hash of the names and contents of a shard's files."""
    digest = hashlib.sha256()
    for row in part.rows:
        facts = source.scanned.facts[row]
        clips = np.diff(np.searchsorted(source.rows, [row, row + 1]))[0]
        line = f"{source.scanned.names[row]}\0{facts['digest']}\0{facts['frames']}\0{clips}\0"
        digest.update(line.encode("utf-8", "surrogateescape"))
        digest.update(source.scanned.problems[row].encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _write_json(path: Path, content: Any) -> None:
    files.write_text(path, json.dumps(content, indent=1) + "\n")
