"""Tables in plain text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_NONE = "–"
Form = Callable[[Any], str]


def _number(form: str) -> Form:
    def write(value: Any) -> str:
        if value is None:
            return _NONE
        return f"{value:g}" if value in (0, 1) else form.format(value)

    return write


def _gain(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{round(value, 2) + 0.0:+.2f}" if value else "0"  # and no -0.00


# Two lines of heading, the key of a row, and the format of its value. Columns without values are
# left out.
COLUMNS: tuple[tuple[str, str, str, Form], ...] = (
    ("latent", "floats/s", "latent_floats_per_second", _number("{:.6g}")),
    ("latent", "bit/s", "bits_per_second", _number("{:.0f}")),
    ("features", "RMSE{unit}", "feature_rmse", _number("{:.4g}")),
    ("explained", "variance", "explained_variance", _number("{:.4f}")),
    ("gain over", "PCA (dB)", "gain_over_pca_db", _gain),
    ("audio log-mel", "RMSE (dB)", "audio_log_mel_rmse_db", _number("{:.3f}")),
    ("SI-SDR", "(dB)", "si_sdr_db", _number("{:.1f}")),
    ("codes", "used", "codebook_utilisation", _number("{:.0%}")),
    ("", "perplexity", "perplexity", _number("{:.1f}")),
    ("bitrate", "efficiency", "bitrate_efficiency", _number("{:.3f}")),
)


def results_table(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    """Rows of ``results.json`` as an aligned table, one line each; ``unit`` of the features."""
    shown = f" ({unit})" if unit != "1" else ""
    columns = [column for column in COLUMNS if any(row.get(column[2]) is not None for row in rows)]
    cells = [
        ["", *(above for above, _, _, _ in columns)],
        ["", *(below.format(unit=shown) for _, below, _, _ in columns)],
        *([row["name"], *(form(row.get(key)) for _, _, key, form in columns)] for row in rows),
    ]
    return aligned(cells)


def probes_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The scores of probes as an aligned table: a line for each label, a column for each source."""
    sources = list(dict.fromkeys(source for row in rows for source in row["scores"]))
    number = _number("{:.3f}")
    cells = [["label", "measure", "chance", *sources]]
    notes = []
    for row in rows:
        scores = [number(row["scores"].get(source)) for source in sources]
        cells.append([row["label"], row["measure"], number(row.get("chance")), *scores])
        if row.get("skipped"):
            notes.append(f"{row['label']} was not probed: {row['skipped']}")
    return "\n".join([aligned(cells), *notes])


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Cells as aligned text: the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *rest in cells:
        padded = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *padded]).rstrip())
    return "\n".join(lines)
