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


# Two lines of heading, the key of a row, and the format of its value.
Column = tuple[str, str, str, Form]
COLUMNS: tuple[Column, ...] = (
    ("latent", "floats/s", "latent_floats_per_second", _number("{:.6g}")),
    ("latent", "bit/s", "bits_per_second", _number("{:.0f}")),
    ("features", "RMSE{unit}", "feature_rmse", _number("{:.4g}")),
    ("explained", "variance", "explained_variance", _number("{:.4f}")),
    ("over coded", "PCA (dB)", "gain_over_coded_pca_db", _gain),
    ("gain over", "PCA (dB)", "gain_over_pca_db", _gain),
    ("audio log-mel", "RMSE (dB)", "audio_log_mel_rmse_db", _number("{:.3f}")),
    ("SI-SDR", "(dB)", "si_sdr_db", _number("{:.1f}")),
    ("codes", "used", "codebook_utilisation", _number("{:.0%}")),
    ("", "perplexity", "perplexity", _number("{:.1f}")),
    ("bitrate", "efficiency", "bitrate_efficiency", _number("{:.3f}")),
)
_ASIDE = ("explained_variance", "codebook_utilisation", "perplexity", "bitrate_efficiency")
_GAINS = ("gain_over_coded_pca_db", "gain_over_pca_db")
# The widest table with intervals, and what has one first.
_WIDEST = 100
_FIRST = (*_GAINS, "feature_rmse", "audio_log_mel_rmse_db", "si_sdr_db")
_FEW = 10  # clips


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns that have values. Gains of quantised models stand beside their bits, since PCA
    has none."""
    columns = [column for column in COLUMNS if any(row.get(column[2]) is not None for row in rows)]
    keys = [key for _, _, key, _ in columns]
    if "bits_per_second" in keys:
        order = ["latent_floats_per_second", "bits_per_second", *_GAINS]
        columns.sort(
            key=lambda column: order.index(column[2]) if column[2] in order else len(order)
        )
    return columns


def results_table(rows: Sequence[Mapping[str, Any]], unit: str, clips: int | None = None) -> str:
    """Rows of ``results.json`` as an aligned table, one line each, and notes about it.

    Args:
      rows: the rows. As many columns have half of the interval behind ± as fit in 100 characters;
        what does not fit in them, where models quantise, is a second table.
      unit: of the features.
      clips: number of measured clips; None if it is not known.
    """
    columns = columns_of(rows)
    coded = any(key == "codebook_utilisation" for _, _, key, _ in columns)
    aside = [column for column in columns if coded and column[2] in _ASIDE]
    main = [column for column in columns if column not in aside]
    with_interval: set[str] = set()
    for key in _FIRST:
        wider = with_interval | {key}
        if _widest(_cells(rows, main, unit, wider)) <= _WIDEST:
            with_interval = wider
    cells = _cells(rows, main, unit, with_interval)
    parts = [aligned(cells)]
    if aside:
        parts.append(aligned(_cells(rows, aside, unit, set())))
    notes = notes_of(clips, "±: half of the" if "±" in parts[0] else "")
    return "\n\n".join(parts) + "".join(f"\n{note}" for note in notes)


def notes_of(clips: int | None, interval: str) -> list[str]:
    """Notes about intervals, which are shown as ``interval`` ("" for none), and about few clips."""
    over = "" if clips is None else f" over {clips} clips"
    notes = [f"{interval} 95 % interval{over} (bootstrap)."] if interval else []
    if clips is not None and clips < _FEW:
        measured = "one clip was" if clips == 1 else f"{clips} clips were"
        notes.append(f"Only {measured} measured: others like these may give quite other numbers.")
    return notes


def with_half(text: str, value: float | None, interval: Sequence[float] | None) -> str:
    """The text of a value with half of its interval, to as many decimals: ``3.203 ±0.041``."""
    if value is None or interval is None:
        return text
    decimals = len(text.partition(".")[2])
    return f"{text} ±{(interval[1] - interval[0]) / 2:.{decimals}f}"


def _cells(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], unit: str, intervals: set[str]
) -> list[list[str]]:
    """Two lines of heading and a line for each row; columns of the keys ``intervals`` with ±."""
    shown = f" ({unit})" if unit != "1" else ""
    cells = [
        ["", *(above for above, _, _, _ in columns)],
        ["", *(below.format(unit=shown) for _, below, _, _ in columns)],
    ]
    for row in rows:
        known = row.get("interval_95") or {}
        texts = [
            with_half(
                form(row.get(key)), row.get(key), known.get(key) if key in intervals else None
            )
            for _, _, key, form in columns
        ]
        cells.append([row["name"], *texts])
    for column in range(1, len(columns) + 1):  # numbers without an interval line up with the others
        halves = [line[column].partition(" ±")[1:] for line in cells[2:]]
        room = max(len("".join(half)) for half in halves) if halves else 0
        for line, half in zip(cells[2:], halves, strict=True):
            line[column] += " " * (room - len("".join(half)))
    return cells


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
    widths = _widths(cells)
    lines = []
    for first, *rest in cells:
        padded = [f"{cell:>{width}}" for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *padded]).rstrip())
    return "\n".join(lines)


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _widest(cells: Sequence[Sequence[str]]) -> int:
    """Characters in a line of the aligned table."""
    return len("  ".join(" " * width for width in _widths(cells)))
