"""Reading of finished runs and sweeps; their files are checked, not trusted."""

import dataclasses
import heapq
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aejax.reporting.extras import Extras, read_extras
from aejax.runtime import files
from aejax.runtime.arrays import is_number
from aejax.runtime.errors import UserError

REPORT = "report.html"
ARRAYS = "report.npz"
_MOST_RESULTS = 64 << 20
_MOST_CONFIG = 1 << 20
_MOST_LINES = 1 << 30
_MOST_CURVE = 400  # points of a training curve
_MOST_MEMBERS = 10_000
PCA = "pca"


@dataclasses.dataclass(frozen=True)
class Run:
    """The contents of a finished run's files.

    Attributes:
      path: the run's directory.
      config: dotted keys to values.
      rows: rows of the results table.
      results: the rest of ``results.json``.
      corpus: content of ``corpus.json``, or empty.
      curves: by name, (step, value) pairs, thinned out.
      worst: lines of ``clips.jsonl``, those with the lowest gain over PCA first.
      tested: number of lines in ``clips.jsonl``.
      extras: content of ``report.npz``; None if there is none.
    """

    path: Path
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    results: dict[str, Any]
    corpus: dict[str, Any]
    curves: dict[str, list[tuple[int, float]]]
    worst: list[dict[str, Any]]
    tested: int
    extras: Extras | None

    @property
    def name(self) -> str:
        """The experiment's name."""
        return str(self.config["name"])

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the run, of its data order and of its split; 0 for one that is no number."""
        values = (self.config.get(key) for key in ("seed", "data.seed", "data.split_seed"))
        return tuple(seed if isinstance(seed, int) else 0 for seed in values)


def find_runs(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The directories of finished runs, each once, and the names of unfinished members.

    Args:
      paths: directories of runs, or of sweeps: directories with a ``sweep.json``.

    Raises:
      UserError: a path is neither, or its run is not finished.
    """
    finished: dict[Path, Path] = {}
    unfinished: list[str] = []
    for path in paths:
        if (path / "sweep.json").exists():
            for member in members(path):
                if (member / "results.json").is_file():
                    finished.setdefault(member.resolve(), member)
                else:
                    unfinished.append(member.name)
        elif (path / "results.json").is_file():
            finished.setdefault(path.resolve(), path)
        elif (path / "config.json").is_file():
            raise UserError(f"the run in {path} is not finished; start it again to continue")
        else:
            raise UserError(f"{path} is neither a run nor a sweep: no results.json, no sweep.json")
    if not finished:
        raise UserError(f"no finished run in {', '.join(map(str, paths))}")
    return list(finished.values()), unfinished


def folder_names(paths: Sequence[Path]) -> list[str]:
    """Names of folders, with as many of their parents as are needed to make them distinct."""
    resolved = [path.resolve() for path in paths]
    count = len(set(resolved))
    for depth in (1, 2, 3):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == count:
            break
    else:
        names = list(map(str, resolved))
    # Lone surrogates are escaped, as in all text on the page.
    return [name.encode("utf-8", "backslashreplace").decode() for name in names]


def members(sweep: Path) -> list[Path]:
    """The directories of a sweep's runs, from its ``sweep.json``.

    Raises:
      UserError: the file is damaged.
    """
    entries = files.read_object(sweep / "sweep.json", _MOST_RESULTS).get("members")
    root = sweep.resolve()
    if not isinstance(entries, list) or len(entries) > _MOST_MEMBERS:
        raise UserError(f"{sweep / 'sweep.json'} has no list of at most {_MOST_MEMBERS} members")
    folders = []
    for member in entries:
        folder = member.get("folder") if isinstance(member, dict) else None
        if not isinstance(folder, str) or "\0" in folder or not 0 < len(folder) < 1000:
            raise UserError(f"{sweep / 'sweep.json'} has a member without a folder")
        inside = (root / folder).resolve()
        if root not in inside.parents:
            raise UserError(f"{sweep / 'sweep.json'} has a member outside of {sweep}: {folder!r}")
        folders.append(sweep / folder)
    return folders


def read_run(path: Path, *, most_clips: int) -> Run:
    """Reads a finished run, in bounded memory and time.

    Args:
      path: the run's directory.
      most_clips: most lines of ``clips.jsonl`` to return.

    Raises:
      UserError: one of its files is damaged, too large, or a link.
    """
    config = _flatten(files.read_object(path / "config.json", _MOST_CONFIG))
    name = config.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise UserError(f"{path / 'config.json'} has no name of a run")
    results = read_results(path)
    rows = results.pop("rows")
    has_corpus = (path / "corpus.json").is_file()
    tested, worst = _worst(path / "clips.jsonl", name, most_clips)
    return Run(
        path=path,
        config=config,
        rows=rows,
        results=results,
        corpus=files.read_object(path / "corpus.json", _MOST_RESULTS) if has_corpus else {},
        curves=_curves(path / "metrics.jsonl"),
        worst=worst,
        tested=tested,
        extras=read_extras(path / ARRAYS) if (path / ARRAYS).exists() else None,
    )


def read_results(path: Path) -> dict[str, Any]:
    """The content of ``results.json`` of the run in ``path``, with the fields used here checked.

    Raises:
      UserError: the file is damaged.
    """
    file = path / "results.json"
    results = files.read_object(file, _MOST_RESULTS)
    _check_rows(results.get("rows"), file)
    _check_results(results, file)
    return results


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """JSON objects of the lines of a file; an incomplete last line is left out."""
    if path.is_file():
        for line in files.read_lines(path, _MOST_LINES):
            if isinstance(line, str):
                raise UserError(line)
            yield line


def _flatten(saved: Any, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in saved.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


_MEASURES = ("feature_rmse", "audio_log_mel_rmse_db")
_NO_NUMBERS = ("name", "interval_95")


def _check_rows(rows: Any, path: Path) -> None:
    def good(row: Any) -> bool:
        return (
            isinstance(row, dict)
            and isinstance(row.get("name"), str)
            and all(is_number(row.get(key)) for key in _MEASURES)
            and _are_intervals(row.get("interval_95"))
            and all(x is None or is_number(x) for key, x in row.items() if key not in _NO_NUMBERS)
        )

    if not isinstance(rows, list) or not 0 < len(rows) <= 1000 or not all(map(good, rows)):
        raise UserError(f"{path} is damaged (no rows of a results table)")


def _are_intervals(intervals: Any) -> bool:
    """Whether this maps names to pairs of numbers, or is None."""
    return intervals is None or (
        isinstance(intervals, dict) and all(map(is_interval, intervals.values()))
    )


def is_interval(ends: Any) -> bool:
    """Whether this is a pair of numbers."""
    return isinstance(ends, list) and len(ends) == 2 and all(map(is_number, ends))


def _is_probe(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("scores"), dict):
        return False
    numbers = [row.get("chance"), *row["scores"].values()]
    return (
        all(isinstance(row.get(key), str) for key in ("label", "measure"))
        and isinstance(row.get("skipped") or "", str)
        and all(x is None or is_number(x) for x in numbers)
    )


def _check_results(results: Mapping[str, Any], path: Path) -> None:
    kinds = {"units": dict, "by_label": dict, "probes": list, "best": dict, "versions": dict}
    for key, kind in kinds.items():
        if results.get(key) is not None and not isinstance(results[key], kind):
            raise UserError(f"{path} is damaged ({key} is no {kind.__name__})")
    clips = results.get("test_clips")
    if clips is not None and (not isinstance(clips, int) or not is_number(clips)):
        raise UserError(f"{path} is damaged (test_clips)")
    if not isinstance((results.get("units") or {}).get("feature_rmse"), str):
        raise UserError(f"{path} is damaged (no unit of the features)")
    if not all(map(_is_probe, results.get("probes") or [])):
        raise UserError(f"{path} is damaged (probes)")
    for best in (results.get("best") or {}).values():
        if not isinstance(best, dict) or not isinstance(best.get("step"), int):
            raise UserError(f"{path} is damaged (best)")


def gain(line: Mapping[str, Any], name: str) -> float | None:
    """Gain over PCA of one clip's line, dB; None if an error is missing."""
    errors = line.get("feature_rmse")
    if not isinstance(errors, dict):
        return None
    error, pca_error = errors.get(name), errors.get(PCA)
    if not (is_number(error) and is_number(pca_error)):
        return None
    ratio = float(pca_error or 0) / (float(error or 0) or math.inf)
    return 20 * math.log10(ratio) if ratio > 0 else None


def _worst(path: Path, name: str, most: int) -> tuple[int, list[dict[str, Any]]]:
    """The number of clips, and the lines of those with the lowest gain over PCA."""
    count = 0

    def ranked() -> Iterator[tuple[float, int, dict[str, Any]]]:
        nonlocal count
        for line in _lines(path):
            if not isinstance(line.get("name"), str) or not isinstance(line.get("labels"), dict):
                raise UserError(f"{path} is damaged (no clip's errors)")
            value = gain(line, name)
            count += 1
            if value is not None:
                yield value, count, line

    worst = [line for _, _, line in heapq.nsmallest(most, ranked())]
    return count, worst


def _curves(path: Path) -> dict[str, list[tuple[int, float]]]:
    """All scalars by step; every second point is dropped whenever there are too many."""
    curves: dict[str, list[tuple[int, float]]] = {}
    strides: dict[str, int] = {}
    counts: dict[str, int] = {}
    for line in _lines(path):
        step = line.pop("step", None)
        if not isinstance(step, int) or not is_number(step):
            raise UserError(f"{path} is damaged (a line without a step)")
        for name, value in line.items():
            if len(curves) >= 1000 and name not in curves:
                raise UserError(f"{path} has more than 1000 kinds of scalars")
            if not is_number(value):
                continue
            index = counts[name] = counts.get(name, -1) + 1
            points = curves.setdefault(name, [])
            if index % strides.setdefault(name, 1) == 0:
                points.append((step, float(value)))
            if len(points) > _MOST_CURVE:
                curves[name], strides[name] = points[::2], 2 * strides[name]
    return curves
