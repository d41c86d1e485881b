"""Which rows of which runs make one line of the rate-distortion curve."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aejax.reporting.run_files import PCA, Run, folder_names

PCA_CONTEXT = "pca_context"
CEILING = "representation only"
NOISY = "noisy"  # the same of what learns to take noise away: nothing is done to it

# What may differ between the runs of one line: which they are, how they were measured, their rate.
_SEEDS = ("name", "seed", "data.seed", "data.split_seed")
_RATES = tuple(
    f"model.{key}"
    for key in ("latent_dim", "fsq.levels", "vq.codebook_size", "rvq.codebook_size")
    + ("rvq.num_quantizers",)
)
# How audio is read, not which.
_READING = tuple(
    f"data.{key}"
    for key in ("workers", "worker_kind", "cache_megabytes", "excerpt_seconds", "weighting")
    + ("silence_db", "silence_redraws")
)

Key = tuple[tuple[str, str], ...]
Rows = list[tuple[int, Mapping[str, Any]]]  # by the index of their run


@dataclasses.dataclass(frozen=True)
class Point:
    """Rows that differ by their seeds alone.

    Attributes:
      runs: indices of the runs they are from, the lowest seed first. What is not of a model (PCA,
        the ceiling) may be from several runs of one seed, where it is the same.
      rows: of the results tables, as many.
    """

    runs: tuple[int, ...]
    rows: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Line:
    """Rows that differ by seed and rate alone.

    Attributes:
      label: of its own.
      kind: "model", "pca", "pca_context" or "ceiling".
      corpus: label of the corpus.
      points: the lowest rate first.
    """

    label: str
    kind: str
    corpus: str
    points: tuple[Point, ...]


def lines(runs: Sequence[Run]) -> list[Line]:
    """All rows of all runs, as lines; those of models first.

    Rows of models are on one line if their configs differ by name, seeds, what makes the rate, and
    ``evaluate`` alone; averaged and refined rows have lines of their own, and so have the cuts of
    each model. Rows of PCA are on one line if their corpora and representations do.

    What would be two results of one seed on one point, as of two versions of the code, is on lines
    of their own instead, which have the names of the runs' folders.
    """
    corpora = corpus_labels(runs)
    folders = folder_names([run.path for run in runs])
    found: dict[Any, dict[Any, Rows]] = {}
    for index, run in enumerate(runs):
        for row in run.rows:
            kind, variant = kind_of(row["name"], run.name)
            line, point = _keys(run, kind, variant, row)
            found.setdefault((kind, variant, line), {}).setdefault(point, []).append((index, row))
    order = {"model": 0, PCA: 1, PCA_CONTEXT: 2, "ceiling": 3}
    found = {
        (*key, source): part
        for key, points in found.items()
        for source, part in _apart(runs, key[0], points, folders).items()
    }
    keys = sorted(found, key=lambda key: order[key[0]])
    members = [sorted({i for rows in found[key].values() for i, _ in rows}) for key in keys]
    labels = _line_labels(runs, keys, members)
    return [
        Line(label, key[0], corpora[inside[0]], _points(runs, found[key].values()))
        for key, inside, label in zip(keys, members, labels, strict=True)
    ]


def _apart(
    runs: Sequence[Run], kind: str, points: Mapping[Any, Rows], folders: Sequence[str]
) -> dict[str, dict[Any, Rows]]:
    """The points of a line by the folder they are from, ``""`` where all make one line: by the
    runs' common folders (sweeps), if that tells results of one seed apart, or by each run's."""
    above = folder_names([run.path.parent for run in runs])
    parts: dict[str, dict[Any, Rows]] = {}
    for source in ([""] * len(runs), above, folders):
        parts = {}
        for point, rows in points.items():
            for index, row in rows:
                parts.setdefault(source[index], {}).setdefault(point, []).append((index, row))
        if not any(_clash(runs, kind, rows) for part in parts.values() for rows in part.values()):
            break
    return parts


def _clash(runs: Sequence[Run], kind: str, rows: Rows) -> bool:
    """Whether two results are of one seed; other than a model's may be, where they are equal."""
    first: dict[tuple[int, ...], Mapping[str, Any]] = {}
    for index, row in rows:
        other = first.setdefault(runs[index].seeds, row)
        if other is not row and (kind == "model" or not _equal(row, other)):
            return True
    return False


def _equal(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    pairs = [(row.get(key), other.get(key)) for key in _MEASURED]
    return all(
        a == b
        or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3))
        for a, b in pairs
    )


def kind_of(row: str, name: str) -> tuple[str, str]:
    """What a row of the run of that name is: its kind (see `Line`) and which variant of it."""
    if row in (CEILING, NOISY):
        return "ceiling", ""
    first, _, rest = row.partition(", ")
    if first == name:
        return "model", "cut" if rest.endswith((" latents", " codebooks")) else rest
    if first == PCA:
        return PCA, "" if rest.endswith(" latents") else rest
    return (PCA_CONTEXT, rest) if first == PCA_CONTEXT else ("model", row)


def _keys(run: Run, kind: str, variant: str, row: Mapping[str, Any]) -> tuple[Key, Any]:
    rate = (row.get("latent_floats_per_second"), row.get("bits_per_second"))
    if kind in ("ceiling", PCA):
        line = _some(run, "data", "representation") + _some(run, "model.downsampling")
        return (line[:-1] if kind == "ceiling" else line), rate if kind == PCA else None
    if kind == PCA_CONTEXT:  # what its decoder sees goes by the model
        rooms = _some(run, "data", "representation", "model")
        return tuple(pair for pair in rooms if pair[0] not in _RATES), rate
    whole = _without(run, _SEEDS) + _version(run)
    if variant == "cut":
        return whole, row["name"].rpartition(", ")[2]
    return _without(run, _SEEDS + _RATES) + _version(run), whole


def _without(run: Run, left_out: Sequence[str]) -> Key:
    return tuple(
        (key, repr(value))
        for key, value in sorted(run.config.items())
        if key not in left_out and not key.startswith("evaluate.")
    )


def _version(run: Run) -> Key:
    """Of aejax, where a run says it."""
    version = (run.results.get("versions") or {}).get("aejax")
    return (("aejax", repr(version)),) if version is not None else ()


def _some(run: Run, *rooms: str) -> Key:
    return tuple(
        (key, repr(value))
        for room in rooms
        for key, value in sorted(run.config.items())
        if (key == room or key.startswith(f"{room}.")) and key not in (*_SEEDS, *_READING)
    )


def _points(runs: Sequence[Run], groups: Iterable[list[Any]]) -> tuple[Point, ...]:
    points = []
    for rows in groups:
        rows = sorted(rows, key=lambda pair: (runs[pair[0]].seeds, pair[0]))
        points.append(Point(tuple(i for i, _ in rows), tuple(row for _, row in rows)))

    def rate(point: Point) -> tuple[float, float]:
        row = point.rows[0]
        return row.get("latent_floats_per_second") or 0.0, row.get("bits_per_second") or 0.0

    return tuple(sorted(points, key=rate))


def _line_labels(
    runs: Sequence[Run], keys: Sequence[Any], members: Sequence[Sequence[int]]
) -> list[str]:
    corpora = corpus_labels(runs)
    several = len(set(corpora)) > 1
    contexts = len({key[2] for key in keys if key[0] == PCA_CONTEXT})
    labels = []
    for (kind, variant, _, source), inside in zip(keys, members, strict=True):
        words = {"model": common_name([runs[i].name for i in inside]), PCA: "PCA"}
        denoises = runs[inside[0]].config.get("augment.target") == "clean"
        words |= {"ceiling": NOISY if denoises else CEILING}
        words |= {PCA_CONTEXT: "PCA, decoded in context"}
        label = words[kind]
        if kind == PCA_CONTEXT and contexts > 1:
            label += f" as {words['model']} sees it"
        if variant == "cut":
            label += f", cut short from {runs[inside[0]].config.get('model.latent_dim')} latents"
        elif variant:
            label += f", {variant}"
        label += f" ({source})" if source else ""
        labels.append(label + (f" · {corpora[inside[0]]}" if several else ""))
    return distinct(labels, [dict(key[2]) for key in keys])


def common_name(names: Sequence[str]) -> str:
    """The names' common beginning; the first name where they have none."""
    if len(set(names)) == 1:
        return names[0]
    return os.path.commonprefix(list(names)).rstrip("_-. ") or names[0]


def distinct(labels: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels, and behind those that several have, the facts in which they differ."""
    found = []
    for label, own in zip(labels, facts, strict=True):
        same = [other for name, other in zip(labels, facts, strict=True) if name == label]
        keys = {key for other in same for key in own.keys() | other.keys()}
        differing = sorted(key for key in keys if len({str(x.get(key)) for x in same}) > 1)
        shown = [f"{key}={own.get(key, 'unset')}" for key in differing]
        more = f", and {len(shown) - 3} more" if len(shown) > 3 else ""
        found.append(f"{label} ({', '.join(shown[:3])}{more})" if shown else label)
    return found


def corpus_labels(runs: Sequence[Run]) -> list[str]:
    """What to call the corpus of each run: the same for those that may share a line."""

    def label(run: Run) -> str:
        path = str(run.config.get("data.path") or "")
        return path.rstrip("/").rpartition("/")[2] or path or "built-in corpus"

    return distinct([label(run) for run in runs], [dict(_some(run, "data")) for run in runs])


def sounds_key(run: Run) -> Any:
    """The same for runs whose test clips are the same sounds."""
    synthetic = None if run.config.get("data.path") else run.config.get("data.seed")
    return _some(run, "data"), repr(run.config.get("data.split_seed")), repr(synthetic)


def comparable(runs: Sequence[Run]) -> bool:
    """Whether errors of features of all runs are of the same features."""
    return len({_some(run, "representation", "data.sample_rate") for run in runs}) <= 1


def pca_key(run: Run) -> Any:
    """The same for runs whose PCA is the same."""
    own = _some(run, "representation", "model.downsampling", "model.latent_dim")
    return sounds_key(run), own


_MEASURED = (
    "latent_floats_per_second",
    "bits_per_second",
    "feature_rmse",
    "audio_log_mel_rmse_db",
    "si_sdr_db",
    "gain_over_pca_db",
)


def point_json(runs: Sequence[Run], point: Point, name: Callable[[int], str]) -> dict[str, Any]:
    """A point as the page has it: for each measure and rate, the mean and the extremes."""
    found: dict[str, Any] = {}
    by_seeds: dict[tuple[int, ...], Mapping[str, Any]] = {}
    for index, row in zip(point.runs, point.rows, strict=True):
        by_seeds.setdefault(runs[index].seeds, row)
    for key in _MEASURED:
        values = [float(row[key]) for row in by_seeds.values() if row.get(key) is not None]
        if values:
            found[key] = [sum(values) / len(values), min(values), max(values)]
    return (
        found
        | {"row": point.rows[0]["name"], "runs": [name(i) for i in point.runs]}
        | {"seeds": len(by_seeds)}
    )
