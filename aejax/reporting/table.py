"""The results table, in plain text."""

from collections.abc import Mapping, Sequence
from typing import Any

_HEADER = (
    ("", "latent floats/s", "log-mel RMSE (dB)", "", "explained variance", "gain over PCA (dB)"),
    ("", "", "features", "audio", "", ""),
)
_NONE = "–"


def results_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of ``results.json`` as an aligned table, a line for each."""
    cells = [
        (
            row["name"],
            _number(row["latent_floats_per_second"], "{:.6g}"),
            _number(row["log_mel_rmse_db"], "{:.3f}"),
            _number(row["audio_log_mel_rmse_db"], "{:.3f}"),
            _number(row["explained_variance"], "{:.4f}"),
            _gain(row["gain_over_pca_db"]),
        )
        for row in rows
    ]
    names = max(len(row[0]) for row in cells)
    widths = (names, 15, 10, 8, 18, 18)
    title = (
        f"{'':{names}}  {_HEADER[0][1]:>15}  {_HEADER[0][2]:>20}  {_HEADER[0][4]:>18}"
        f"  {_HEADER[0][5]:>18}"
    )
    lines = [title]
    for row in (_HEADER[1], *cells):
        first = f"{row[0]:<{widths[0]}}"
        rest = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)


def _number(value: float | None, form: str) -> str:
    if value is None:
        return _NONE
    return form.format(value) if value not in (0, 1) else f"{value:g}"


def _gain(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{round(value, 2) + 0.0:+.2f}" if value else "0"  # and no -0.00
