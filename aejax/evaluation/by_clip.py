"""The same error clip by clip, and by what the labels say."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from aejax.data.table import Clips
from aejax.evaluation.metrics import gain_db

# A label with more values than this is left out of the summary: it tells clips apart, not kinds.
_MOST_VALUES = 100


@dataclasses.dataclass(frozen=True)
class ClipErrors:
    """Squared errors of one codec, each clip's own.

    Attributes:
      frames: that counted, ``[clips]``; 0 for clips that were not looked at.
      squared_error: in the features' unit squared, the mean over bins, summed over frames,
        ``[clips]``.
    """

    frames: np.ndarray
    squared_error: np.ndarray

    def rmse(self, clips: np.ndarray) -> float | None:
        """RMSE of the features over all frames of these clips; None where there are none."""
        frames = self.frames[clips].sum()
        return float(np.sqrt(self.squared_error[clips].sum() / frames)) if frames else None


def lines(
    clips: Clips, errors: Mapping[str, ClipErrors], chosen: np.ndarray
) -> list[dict[str, Any]]:
    """One dict for each chosen clip: its name, length, labels, and error by codec."""
    return [
        {
            "name": clips.name(index),
            "seconds": round(clips[index].seconds, 6),
            "labels": clips[index].labels,
            "feature_rmse": {
                name: found.rmse(np.asarray([index])) for name, found in errors.items()
            },
        }
        for index in chosen.tolist()
    ]


def by_label(
    clips: Clips, errors: Mapping[str, ClipErrors], chosen: np.ndarray, reference: str
) -> dict[str, dict[str, Any]]:
    """By label and value: how many clips, the error of each codec over all their frames, and its
    gain over the ``reference``, in dB."""
    found: dict[str, dict[str, Any]] = {}
    for label, column in clips.labels.items():
        if column.categories is None:
            continue
        values = np.unique(column.values[chosen])
        values = values[values >= 0]
        if 0 < len(values) <= _MOST_VALUES:
            found[label] = {
                column.categories[value]: _of(
                    chosen[column.values[chosen] == value], errors, reference
                )
                for value in values.tolist()
            }
    return found


def _of(clips: np.ndarray, errors: Mapping[str, ClipErrors], reference: str) -> dict[str, Any]:
    rmse = {name: found.rmse(clips) for name, found in errors.items()}
    yardstick = rmse[reference]
    return {
        "clips": len(clips),
        "feature_rmse": rmse,
        "gain_over_pca_db": {
            name: None if value is None or yardstick is None else gain_db(value, yardstick)
            for name, value in rmse.items()
        },
    }
