"""The sentence that a report of one run opens with."""

from collections.abc import Mapping
from typing import Any

from aejax.reporting.run_files import PCA, Run
from aejax.reporting.table import with_half
from aejax.runtime.arrays import is_number

_EQUAL_DB = 0.05  # gains that are 0.0 with one decimal
_RAW_BITS = 16  # of a sample


def headline(run: Run) -> str:
    """How near a run's model is to the original, and at what rate, without its name; "" if the run
    has no row of its model."""
    row = next((row for row in run.rows if row["name"] == run.name), None)
    if row is None:
        return ""
    pca = any(other["name"] == PCA for other in run.rows)
    original = "clean audio" if run.config.get("task") == "denoise" else "original"
    floats, bits = row.get("latent_floats_per_second"), row.get("bits_per_second")
    key, baseline = "gain_over_pca_db", "PCA" if bits is None else "unquantised PCA"
    if row.get("gain_over_coded_pca_db") is not None:
        key, baseline = "gain_over_coded_pca_db", "PCA with the same bits"
    gain = row.get(key) if pca else None
    if gain is None:
        error = _with_half(row, "audio_log_mel_rmse_db")
        words = f"{error} dB away from the {original} (log-mel RMSE of the audio)"
    elif abs(gain) < _EQUAL_DB:
        words = f"as close to the {original} as {baseline}"
    else:
        nearer = "closer to" if gain > 0 else "further from"
        words = f"{_with_half(row, key)} dB {nearer} the {original} than {baseline}"
    return words + _rates(run, floats, bits)


def _with_half(row: Mapping[str, Any], key: str) -> str:
    """A row's number without its sign, with half of its interval if there is one."""
    ends = (row.get("interval_95") or {}).get(key)
    return with_half(f"{abs(row[key]):.1f}", row[key], ends)


def _rates(run: Run, floats: float | None, bits: float | None) -> str:
    """The model's rate and that of raw audio, in bits if the model is quantised."""
    if bits is None and floats is None:
        return ""
    words = f" at {_count(floats)} numbers a second"
    if bits is not None:
        words = f" at {_count(bits)} bits a second"
    rate = run.config.get("data.sample_rate")
    if not is_number(rate) or not rate:
        return words
    raw = rate * (2 if run.config.get("data.channels") == "stereo" else 1)
    if bits is not None:
        return f"{words}; raw {_RAW_BITS}-bit audio has {_count(_RAW_BITS * raw)}"
    return f"{words}; raw audio has {_count(raw)}"


def _count(x: float | None) -> str:
    return "–" if x is None else f"{x:,.1f}".removesuffix(".0")


def quantised_note(rows: list[Mapping[str, Any]]) -> str:
    """What the gains of quantised rows are over; "" if there are none."""
    if not any(
        row.get("bits_per_second") is not None and row.get("gain_over_pca_db") is not None
        for row in rows
    ):
        return ""
    return (
        "Rows with bits per second are quantised, PCA is not: their gain over PCA is over as many"
        " latent floats per second, each a 32-bit float. “pca, coded” is PCA through the coder of"
        " aejax compress, at no more bits than the model."
    )


def gain_title(row: Mapping[str, Any]) -> str:
    """What a quantised row's gain is over; "" for other rows."""
    floats, bits = row.get("latent_floats_per_second"), row.get("bits_per_second")
    if bits is None or floats is None or row.get("gain_over_pca_db") is None:
        return ""
    return f"quantised to {_count(bits)} bit/s; over PCA with {_count(floats)} unquantised floats/s"
