"""Lines of the rate-distortion curve: groups of rows of runs."""

import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aejax.reporting.run_files import PCA, Run, folder_names

PCA_CONTEXT = "pca_context"
CEILING = "representation only"
NOISY = "noisy"  # the unprocessed input of a denoiser

# Config keys that may differ between the runs of one line: name and seeds, and the rate.
_SEEDS = ("name", "seed", "data.seed", "data.split_seed")
_RATES = tuple(
    f"model.{key}"
    for key in ("latent_dim", "fsq.levels", "vq.codebook_size", "rvq.codebook_size")
    + ("rvq.num_quantizers",)
)
# Config keys of how audio is read; they do not change the corpus.
_READING = tuple(
    f"data.{key}"
    for key in ("workers", "worker_kind", "cache_megabytes", "excerpt_seconds", "weighting")
    + ("silence_db", "silence_redraws")
)

Key = tuple[tuple[str, str], ...]
Rows = list[tuple[int, Mapping[str, Any]]]  # by the index of their run


@dataclasses.dataclass(frozen=True)
class Point:
    """Rows that differ only by seed.

    Attributes:
      runs: indices of their runs, the lowest seed first. Equal rows of PCA or the ceiling may be
        from several runs of one seed.
      rows: rows of the results tables, one for each of ``runs``.
    """

    runs: tuple[int, ...]
    rows: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Line:
    """Rows that differ only by seed and rate.

    Attributes:
      label: its unique label.
      kind: "model", "pca", "pca_context" or "ceiling".
      corpus: label of the corpus.
      points: its points, the lowest rate first.
    """

    label: str
    kind: str
    corpus: str
    points: tuple[Point, ...]


def lines(runs: Sequence[Run]) -> list[Line]:
    """All rows of all runs grouped into lines, those of models first.

    Rows of models share a line if their configs differ only by name, seeds, rate and ``evaluate``;
    averaged and refined rows have separate lines, as have the nested sizes of each model. Rows of
    PCA share a line if their corpora and representations do not differ.

    Two results of one seed at one point, as of two versions of the code, are put on separate lines
    that have the names of the runs' folders.
    """
    corpora = corpus_labels(runs)
    folders = folder_names([run.path for run in runs])
    groups: dict[Any, dict[Any, Rows]] = {}
    for index, run in enumerate(runs):
        for row in run.rows:
            kind, variant = kind_of(row["name"], run.name)
            line, point = _keys(run, kind, variant, row)
            groups.setdefault((kind, variant, line), {}).setdefault(point, []).append((index, row))
    order = {"model": 0, PCA: 1, PCA_CONTEXT: 2, "ceiling": 3}
    groups = {
        (*key, source): part
        for key, points in groups.items()
        for source, part in _split_by_folder(runs, key[0], points, folders).items()
    }
    keys = sorted(groups, key=lambda key: order[key[0]])
    members = [sorted({i for rows in groups[key].values() for i, _ in rows}) for key in keys]
    labels = _line_labels(runs, keys, members)
    return [
        Line(label, key[0], corpora[indices[0]], _points(runs, groups[key].values()))
        for key, indices, label in zip(keys, members, labels, strict=True)
    ]


def _split_by_folder(
    runs: Sequence[Run], kind: str, points: Mapping[Any, Rows], folders: Sequence[str]
) -> dict[str, dict[Any, Rows]]:
    """The points of a line by folder, or all with the key ``""`` if no two results have one seed.
    The folders are the runs' parents (sweeps) if these separate such results, else their own."""
    parents = folder_names([run.path.parent for run in runs])
    parts: dict[str, dict[Any, Rows]] = {}
    for source in ([""] * len(runs), parents, folders):
        parts = {}
        for point, rows in points.items():
            for index, row in rows:
                parts.setdefault(source[index], {}).setdefault(point, []).append((index, row))
        if not any(
            _has_duplicates(runs, kind, rows) for part in parts.values() for rows in part.values()
        ):
            break
    return parts


def _has_duplicates(runs: Sequence[Run], kind: str, rows: Rows) -> bool:
    """Whether two results have the same seed; equal rows that are not of models do not count."""
    first: dict[tuple[int, ...], Mapping[str, Any]] = {}
    for index, row in rows:
        other = first.setdefault(runs[index].seeds, row)
        if other is not row and (kind == "model" or not equal(row, other)):
            return True
    return False


def equal(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether all measures of two rows are equal, to 0.001."""
    pairs = [(row.get(key), other.get(key)) for key in _MEASURED]
    return all(
        a == b
        or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3))
        for a, b in pairs
    )


def kind_of(row: str, name: str) -> tuple[str, str]:
    """The kind (see `Line`) and the variant of a row of the run of that name."""
    if row in (CEILING, NOISY):
        return "ceiling", ""
    first, _, rest = row.partition(", ")
    if first == name:
        return "model", "truncated" if rest.endswith((" latents", " codebooks")) else rest
    if first == PCA:
        return PCA, "" if rest.endswith(" latents") else rest
    return (PCA_CONTEXT, rest) if first == PCA_CONTEXT else ("model", row)


def _keys(run: Run, kind: str, variant: str, row: Mapping[str, Any]) -> tuple[Key, Any]:
    rate = (row.get("latent_floats_per_second"), row.get("bits_per_second"))
    if kind in ("ceiling", PCA):
        line = _settings(run, "data", "representation") + _settings(run, "model.downsampling")
        return (line[:-1] if kind == "ceiling" else line), rate if kind == PCA else None
    if kind == PCA_CONTEXT:  # its decoder has the model's receptive field
        settings = _settings(run, "data", "representation", "model")
        return tuple(pair for pair in settings if pair[0] not in _RATES), rate
    everything = _without(run, _SEEDS) + _version(run)
    if variant == "truncated":
        return everything, row["name"].rpartition(", ")[2]
    return _without(run, _SEEDS + _RATES) + _version(run), everything


def _without(run: Run, left_out: Sequence[str]) -> Key:
    return tuple(
        (key, repr(value))
        for key, value in sorted(run.config.items())
        if key not in left_out and not key.startswith("evaluate.")
    )


def _version(run: Run) -> Key:
    """The version of aejax, if the run has it."""
    version = (run.results.get("versions") or {}).get("aejax")
    return (("aejax", repr(version)),) if version is not None else ()


def _settings(run: Run, *sections: str) -> Key:
    return tuple(
        (key, repr(value))
        for section in sections
        for key, value in sorted(run.config.items())
        if (key == section or key.startswith(f"{section}.")) and key not in (*_SEEDS, *_READING)
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
    folders = folder_names([run.path for run in runs])
    contexts = len({key[2] for key in keys if key[0] == PCA_CONTEXT})
    labels = []
    for (kind, variant, _, source), indices in zip(keys, members, strict=True):
        config = runs[indices[0]].config
        model = (
            folders[indices[0]] if len(indices) == 1 else common_folder([runs[i] for i in indices])
        )
        label = {
            "model": model,
            PCA: "PCA",
            PCA_CONTEXT: "PCA, decoded in context",
            "ceiling": NOISY if config.get("task") == "denoise" else CEILING,
        }[kind]
        if kind == PCA_CONTEXT and contexts > 1:
            label += f" of {model}"
        if variant == "truncated":
            label += f", truncated from {config.get('model.latent_dim')} latents"
        elif variant:
            label += f", {variant}"
        label += f" ({source})" if source and (kind != "model" or source != model) else ""
        labels.append(label + (f" · {corpora[indices[0]]}" if several else ""))
    return distinct(labels, [dict(key[2]) for key in keys])


def common_folder(runs: Sequence[Run]) -> str:
    """What the names of the runs' folders share, such as ``encoder=conv`` of a sweep's; the
    sweep's folder if they share nothing; the experiment's name if they are of no one sweep."""
    folders = [folder_names([run.path])[0] for run in runs]
    parts = [folder.split(",") for folder in folders]
    shared = [part for part in parts[0] if all(part in other for other in parts)]
    if shared:
        return ",".join(shared)
    if any("=" in folder for folder in folders):
        parents = {run.path.resolve().parent for run in runs}
        return folder_names(list(parents))[0] if len(parents) == 1 else common_name(runs)
    prefix = os.path.commonprefix(folders).rstrip("_-., ")
    return prefix if re.search("[A-Za-z]", prefix) else common_name(runs)


def common_name(runs: Sequence[Run]) -> str:
    """The common prefix of the experiments' names; the first name if there is none."""
    names = [run.name for run in runs]
    if len(set(names)) == 1:
        return names[0]
    return os.path.commonprefix(names).rstrip("_-. ") or names[0]


def distinct(labels: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels made distinct: duplicates are followed by the facts in which they differ."""
    unique = []
    for label, own in zip(labels, facts, strict=True):
        same = [other for name, other in zip(labels, facts, strict=True) if name == label]
        keys = {key for other in same for key in own.keys() | other.keys()}
        differing = sorted(key for key in keys if len({str(x.get(key)) for x in same}) > 1)
        shown = [f"{key}={own.get(key, 'unset')}" for key in differing]
        more = f", and {len(shown) - 3} more" if len(shown) > 3 else ""
        unique.append(f"{label} ({', '.join(shown[:3])}{more})" if shown else label)
    return unique


def corpus_labels(runs: Sequence[Run]) -> list[str]:
    """The label of each run's corpus; runs that may share a line have the same label."""

    def label(run: Run) -> str:
        path = str(run.config.get("data.path") or "")
        return path.rstrip("/").rpartition("/")[2] or path or "built-in corpus"

    return distinct([label(run) for run in runs], [dict(_settings(run, "data")) for run in runs])


def sounds_key(run: Run) -> Any:
    """A key that is equal for runs with the same test clips."""
    synthetic = None if run.config.get("data.path") else run.config.get("data.seed")
    return _settings(run, "data"), repr(run.config.get("data.split_seed")), repr(synthetic)


def comparable(runs: Sequence[Run]) -> bool:
    """Whether all runs have the same features, so that their errors can be compared."""
    return len({_settings(run, "representation", "data.sample_rate") for run in runs}) <= 1


def pca_key(run: Run) -> Any:
    """A key that is equal for runs with the same PCA."""
    settings = _settings(run, "representation", "model.downsampling", "model.latent_dim")
    return sounds_key(run), settings


_MEASURED = (
    "latent_floats_per_second",
    "bits_per_second",
    "feature_rmse",
    "audio_log_mel_rmse_db",
    "si_sdr_db",
    "gain_over_pca_db",
    "gain_over_coded_pca_db",
)


def point_json(runs: Sequence[Run], point: Point, name: Callable[[int], str]) -> dict[str, Any]:
    """A point as data for the page: mean, minimum and maximum of each measure and rate; the
    intervals of one result, of several seeds none."""
    measures: dict[str, Any] = {}
    by_seeds: dict[tuple[int, ...], Mapping[str, Any]] = {}
    for index, row in zip(point.runs, point.rows, strict=True):
        by_seeds.setdefault(runs[index].seeds, row)
    for key in _MEASURED:
        values = [float(row[key]) for row in by_seeds.values() if row.get(key) is not None]
        if values:
            measures[key] = [sum(values) / len(values), min(values), max(values)]
    if len(by_seeds) == 1:
        measures["intervals"] = next(iter(by_seeds.values())).get("interval_95") or {}
    return (
        measures
        | {"row": point.rows[0]["name"], "runs": [name(i) for i in point.runs]}
        | {"seeds": len(by_seeds)}
    )
