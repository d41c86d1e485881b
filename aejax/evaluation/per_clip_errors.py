"""Feature errors by clip and by label."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from aejax.data.table import Clips
from aejax.evaluation.metrics import gain_db

# Labels with more values identify clips, not classes; the summary leaves them out.
_MOST_VALUES = 100


@dataclasses.dataclass(frozen=True)
class ClipErrors:
    """Squared errors of one codec by clip.

    Attributes:
      frames: valid frames, ``[clips]``; 0 for clips that were not evaluated.
      squared_error: mean over bins, summed over frames, in the features' unit squared,
        ``[clips]``.
    """

    frames: np.ndarray
    squared_error: np.ndarray

    def rmse(self, clips: np.ndarray) -> float | None:
        """RMSE of the features over all frames of ``clips``; None if there are no frames."""
        frames = self.frames[clips].sum()
        return float(np.sqrt(self.squared_error[clips].sum() / frames)) if frames else None


def lines(
    clips: Clips, errors: Mapping[str, ClipErrors], chosen: np.ndarray
) -> list[dict[str, Any]]:
    """A dict for each chosen clip: name, length, labels, and error by codec."""
    return [
        {
            "name": clips.name(index),
            "seconds": round(clips[index].seconds, 6),
            "labels": clips[index].labels,
            "feature_rmse": {
                name: error.rmse(np.asarray([index])) for name, error in errors.items()
            },
        }
        for index in chosen.tolist()
    ]


def by_label(
    clips: Clips, errors: Mapping[str, ClipErrors], chosen: np.ndarray, reference: str
) -> dict[str, dict[str, Any]]:
    """For each label and value: number of clips, and each codec's error and gain over ``reference``
    in dB."""
    summary: dict[str, dict[str, Any]] = {}
    for label, column in clips.labels.items():
        if column.categories is None:
            continue
        values = np.unique(column.values[chosen])
        values = values[values >= 0]
        if 0 < len(values) <= _MOST_VALUES:
            summary[label] = {
                column.categories[value]: _summarise(
                    chosen[column.values[chosen] == value], errors, reference
                )
                for value in values.tolist()
            }
    return summary


def _summarise(
    clips: np.ndarray, errors: Mapping[str, ClipErrors], reference: str
) -> dict[str, Any]:
    rmse = {name: error.rmse(clips) for name, error in errors.items()}
    reference_rmse = rmse[reference]
    return {
        "clips": len(clips),
        "feature_rmse": rmse,
        "gain_over_pca_db": {
            name: None
            if value is None or reference_rmse is None
            else gain_db(value, reference_rmse)
            for name, value in rmse.items()
        },
    }
