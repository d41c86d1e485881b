"""Data of single runs for the page, as JSON."""

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np

from aejax.reporting.extras import is_labels
from aejax.reporting.run_files import PCA, Run, gain, is_interval
from aejax.runtime import words

_MOST_LATENTS = 256
_MOST_VALUES = 200  # per label, the lowest gains first

CURVES = {
    "loss": ("loss/total", "validation/loss"),
    "validation": ("validation/feature_rmse", "validation/pca_feature_rmse"),
    "learning rate": ("learning_rate",),
    "data wait": ("time/data_wait_fraction",),
}


def details(run: Run, label: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """All data of a run except its curve and its sounds.

    Args:
      run: the run.
      label: its name on the page.
      defaults: default config, dotted keys to values.
    """
    return {
        "label": label,
        "curves": {
            name: [[step, _short(value)] for step, value in run.curves[name]]
            for names in CURVES.values()
            for name in names
            if name in run.curves
        },
        "unit": unit(run),
        "config": config_rows(run, defaults),
        "facts": facts(run),
        "command": _text(run.results.get("command")),
        "labels": _gains_by_label(run),
        "worst": [_clip(line, run.name) for line in run.worst],
        "tested": run.tested,
        "probes": _probes(run),
        "latents": _latents(run),
        "map": _map(run),
    }


def unit(run: Run) -> str:
    """Unit of the features; "" if they have none."""
    units = run.results.get("units") or {}
    text = _text(units.get("feature_rmse"))
    return "" if text == "1" else text


def _text(value: Any, most: int = 2000) -> str:
    if isinstance(value, list):
        value = " ".join(map(str, value))
    return value[:most] if isinstance(value, str) else ""


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def written(value: Any) -> str:
    """A config value as text, in Python's syntax."""
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(written, value))}{',' if len(value) == 1 else ''})"
    return repr(value) if isinstance(value, str) else str(value)


def config_rows(run: Run, defaults: Mapping[str, Any]) -> list[list[Any]]:
    """Rows of key, value, default, and whether they differ; a missing default is ""."""
    rows = []
    for key, value in run.config.items():
        text = written(value)[:500]
        default = written(defaults[key]) if key in defaults else ""
        rows.append([key, text, default, text != default])
    return rows


def facts(run: Run) -> list[list[str]]:
    """Facts about a run, as pairs of name and value."""
    corpus, results = run.corpus, run.results
    pairs = [["experiment", run.name], ["directory", run.path.name]]
    if "title" in corpus:
        pairs.append(["corpus", _text(corpus["title"])])
        clips, seconds = corpus.get("clips"), corpus.get("seconds")
        if isinstance(clips, int) and isinstance(seconds, (int, float)):
            pairs.append(["clips", f"{clips:,}, {seconds / 60:,.1f} minutes"])
        splits = corpus.get("splits")
        for split, part in splits.items() if isinstance(splits, dict) else ():
            if isinstance(part, dict):
                clips = part.get("clips")
                counted = words.count(clips, "clip") if isinstance(clips, int) else "no clips"
                pairs.append([f"split {split}", f"{counted}, {_number(part.get('seconds'))} s"])
        left_out = corpus.get("left_out")
        if isinstance(left_out, dict) and left_out:
            sized = {
                reason: x for reason, x in left_out.items() if isinstance(x, (dict, list)) and x
            }
            counts = [f"{len(files)} {reason}" for reason, files in sized.items()]
            pairs.append(["left out", ", ".join(counts) or "nothing"])
    pairs.append(["sample rate", f"{run.config.get('data.sample_rate')} Hz"])
    pairs.append(["seed", str(run.config.get("seed"))])
    pairs.append(["device", _text(results.get("device"))])
    for name, version in (results.get("versions") or {}).items():
        pairs.append([f"{name} version", _text(version, 100)])
    for name, best in (results.get("best") or {}).items():
        if isinstance(best, dict):
            title = "chosen by validation" + ("" if name == "raw" else f" ({name})")
            pairs.append([title, f"step {best.get('step')}"])
    warnings = results.get("warnings")
    for line in warnings if isinstance(warnings, list) else ():
        pairs.append(["warning", _text(line)])
    return [pair for pair in pairs if pair[1]]


def _number(value: Any) -> str:
    return f"{value:,.1f}" if isinstance(value, (int, float)) else "–"


def _gains_by_label(run: Run) -> list[list[Any]]:
    """Rows of label, value, clips, PCA's error, the model's error, its gain in dB, and the interval
    of the gain or None."""
    rows = []
    for label, values in (run.results.get("by_label") or {}).items():
        if not isinstance(values, dict):
            continue
        label_rows = []
        for value, part in values.items():
            gains = part.get("gain_over_pca_db") if isinstance(part, dict) else None
            errors = part.get("feature_rmse") if isinstance(part, dict) else None
            if isinstance(gains, dict) and isinstance(errors, dict):
                numbers = [errors.get(PCA), errors.get(run.name), gains.get(run.name)]
                known = [_short(x) for x in numbers if isinstance(x, (int, float))]
                if len(known) == len(numbers):
                    interval = _interval(part.get("gain_interval_95"), run.name)
                    label_rows.append([label, value, part.get("clips"), *known, interval])
        rows += heapq.nsmallest(_MOST_VALUES, label_rows, key=lambda row: row[5])
    return rows


def _interval(intervals: Any, name: str) -> list[float] | None:
    ends: Any = intervals.get(name) if isinstance(intervals, dict) else None
    return [_short(x) for x in ends] if is_interval(ends) else None


def _clip(line: Mapping[str, Any], name: str) -> list[Any]:
    """A row of name, labels, seconds, PCA's error, the model's error, and its gain in dB."""
    errors = line["feature_rmse"]
    seconds = line.get("seconds")
    return [
        line["name"],
        "; ".join(f"{key}: {_label(value)}" for key, value in line["labels"].items())[:500],
        seconds if isinstance(seconds, (int, float)) else 0,
        _short(errors[PCA]),
        _short(errors[name]),
        _short(gain(line, name) or 0.0),
    ]


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _probes(run: Run) -> dict[str, Any] | None:
    """Sources and rows of the probes' table; None if there are no probes."""
    rows = [
        row
        for row in run.results.get("probes") or []
        if isinstance(row, dict) and isinstance(row.get("scores"), dict)
    ]
    if not rows:
        return None
    sources = list(dict.fromkeys(str(source) for row in rows for source in row["scores"]))
    return {
        "sources": sources,
        "rows": [
            [str(row.get("label")), str(row.get("measure")), _score(row.get("chance"))]
            + [_score(row["scores"].get(source)) for source in sources]
            + [_text(row.get("skipped"))]
            for row in rows
        ],
    }


def _score(value: Any) -> float | None:
    return _short(value) if isinstance(value, (int, float)) else None


def _latents(run: Run) -> dict[str, list[float]] | None:
    if run.extras is None:
        return None
    model, pca = run.extras.latent_variance, run.extras.pca_variance
    return {
        "model": [_short(x) for x in model[:_MOST_LATENTS].tolist()],
        "pca": [_short(x) for x in pca[:_MOST_LATENTS].tolist()],
    }


def _map(run: Run) -> dict[str, Any] | None:
    """Positions of clips on the first two principal axes of their time-averaged latents."""
    if run.extras is None or not run.extras.map_clips:
        return None
    xy, shares = project(run.extras.latent_means)
    clips = run.extras.map_clips
    labels = list(dict.fromkeys(key for clip in clips for key in clip["labels"]))
    assert all(is_labels(clip["labels"]) for clip in clips)
    return {
        "xy": [[round(x, 3), round(y, 3)] for x, y in xy.tolist()],
        "shares": [_short(share) for share in shares],
        "names": [clip["name"] for clip in clips],
        "labels": {key: [clip["labels"].get(key) for clip in clips] for key in labels[:50]},
    }


def project(means: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """The first two principal components of ``[clips, latent_dim]``, ``[clips, 2]`` scaled to at
    most 1; and the fraction of the variance of each."""
    # Normalised first, so that squares of any finite floats stay finite.
    centred = means.astype(np.float64) / max(float(np.abs(means).max(initial=0)), 1e-30)
    centred = centred - centred.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    xy = np.zeros((len(means), 2))
    count = min(2, len(s))
    xy[:, :count] = (u * s)[:, :count]
    whole = float((s**2).sum()) or 1.0
    shares = [float(x) ** 2 / whole for x in s[:2]]
    return xy / max(float(np.abs(xy).max(initial=0)), 1e-30), shares + [0.0] * (2 - count)
