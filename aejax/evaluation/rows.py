"""Rows of the results table."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from aejax.evaluation import metrics
from aejax.evaluation.per_clip_errors import ClipErrors, gain_intervals

CODED_PCA_ROW = "pca, coded"


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the results table, with the field names of ``results.json``.

    ``interval_95`` has ``[low, high]`` of the other fields that are means over clips.
    """

    name: str
    latent_floats_per_second: float | None
    feature_rmse: float
    audio_log_mel_rmse_db: float
    si_sdr_db: float | None
    explained_variance: float | None
    bits_per_second: float | None = None
    codebook_utilisation: float | None = None
    perplexity: float | None = None
    bitrate_efficiency: float | None = None
    gain_over_pca_db: float | None = None
    audio_gain_over_pca_db: float | None = None
    gain_over_coded_pca_db: float | None = None
    interval_95: Mapping[str, list[float]] | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Row":
        """A row of ``results.json``; ignores unknown fields, from other versions."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: row.get(name) for name in names})  # type: ignore[arg-type]


def with_gains(
    measured: Collection[tuple[Row, ClipErrors]],
    references: Collection[str],
    bits_per_second: float | None = None,
) -> list[Row]:
    """The rows with gains over reference rows.

    Args:
      measured: all rows with their errors by clip; those without latents are unchanged.
      references: names of the rows of PCA, for rows of the same latent floats per second.
      bits_per_second: of the codes that coded PCA, if there is a row of it, is compared with.
    """
    by_name = {row.name: (row, errors) for row, errors in measured}
    known = [by_name[name] for name in references if name in by_name]
    at_rate = {row.latent_floats_per_second: (row, errors) for row, errors in known}

    def with_gain(row: Row, errors: ClipErrors) -> Row:
        if row.latent_floats_per_second is None:
            return row
        pca, pca_errors = at_rate[row.latent_floats_per_second]
        of_features, of_audio = gain_intervals([errors], pca_errors)[0]
        gains: dict[str, Any] = {
            "gain_over_pca_db": metrics.gain_db(row.feature_rmse, pca.feature_rmse),
            "audio_gain_over_pca_db": metrics.gain_db(
                row.audio_log_mel_rmse_db, pca.audio_log_mel_rmse_db
            ),
        }
        ends = {"gain_over_pca_db": of_features, "audio_gain_over_pca_db": of_audio}
        has_codes = row.codebook_utilisation is not None
        if has_codes and row.bits_per_second == bits_per_second and CODED_PCA_ROW in by_name:
            pca, pca_errors = by_name[CODED_PCA_ROW]
            name = "gain_over_coded_pca_db"
            gains[name] = metrics.gain_db(row.feature_rmse, pca.feature_rmse)
            ends[name], _ = gain_intervals([errors], pca_errors)[0]
        known = {name: interval for name, interval in ends.items() if interval is not None}
        return dataclasses.replace(
            row, **gains, interval_95={**(row.interval_95 or {}), **known} or None
        )

    return [with_gain(row, errors) for row, errors in measured]
