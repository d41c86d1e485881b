"""Feature errors by clip and by label, and intervals of what is measured over clips."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from aejax.data.table import Clips
from aejax.evaluation import intervals, metrics
from aejax.evaluation.metrics import Sums

# Labels with more values identify clips, not classes; the summary leaves them out.
_MOST_VALUES = 100
Interval = list[float]  # low, high


class ClipErrors(NamedTuple):
    """Squared errors of one codec by clip.

    Attributes:
      frames: valid frames, ``[clips]``; 0 for clips that were not evaluated.
      squared_error: mean over bins, summed over frames, in the features' unit squared,
        ``[clips]``.
      audio_frames, audio_squared_error: the same of log-mel spectrograms of the audio.
    """

    frames: np.ndarray
    squared_error: np.ndarray
    audio_frames: np.ndarray
    audio_squared_error: np.ndarray

    @property
    def evaluated(self) -> Int[np.ndarray, " evaluated"]:
        """Indices of the clips that were evaluated."""
        return np.flatnonzero(self.frames)

    def of(self, clips: Int[np.ndarray, " chosen"]) -> "ClipErrors":
        """The errors of these clips alone."""
        return ClipErrors(*(x[clips] for x in self))

    def rmse(self) -> float | None:
        """RMSE of the features over all frames; None if there are no frames."""
        total = (x.sum(keepdims=True) for x in (self.frames, self.squared_error))
        return metrics.number(metrics.rmse(*total)[0])


def measure_intervals(sums: Sums) -> dict[str, Interval]:
    """The intervals of a codec's metrics, from its sums by clip; empty for fewer than two clips."""
    clips = np.flatnonzero(sums.frames)
    if len(clips) < 2:
        return {}
    columns = np.concatenate([x[clips].reshape(len(clips), -1) for x in sums], 1)
    ends = np.cumsum([x[0].size for x in sums])
    parts = np.split(intervals.resampled(columns), ends[:-1], axis=1)
    drawn = (part.reshape(-1, *x.shape[1:]) for part, x in zip(parts, sums, strict=True))
    measures = metrics.measures(Sums(*drawn))
    known = {name: intervals.interval(values) for name, values in measures.items()}
    return {name: interval for name, interval in known.items() if interval is not None}


def gain_intervals(
    errors: Sequence[ClipErrors], reference: ClipErrors
) -> list[tuple[Interval | None, Interval | None]]:
    """The intervals of the gains over a reference of each codec, in features and in audio. Both
    have the same clips in every draw. None for fewer than two clips."""
    codecs = [reference, *errors]
    clips = functools.reduce(np.intersect1d, [codec.evaluated for codec in codecs])
    if len(clips) < 2:
        return [(None, None) for _ in errors]
    columns = [x for codec in codecs for x in codec.of(clips)]
    drawn = intervals.resampled(np.stack(columns, 1)).T.reshape(len(codecs), 2, 2, -1)
    (features, audio), *others = [
        [metrics.rmse(frames, squared) for frames, squared in codec] for codec in drawn
    ]
    return [
        (
            intervals.interval(metrics.gains_db(own, features)),
            intervals.interval(metrics.gains_db(own_audio, audio)),
        )
        for own, own_audio in others
    ]


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
                name: error.of(np.asarray([index])).rmse() for name, error in errors.items()
            },
        }
        for index in chosen.tolist()
    ]


def by_label(
    clips: Clips, errors: Mapping[str, ClipErrors], chosen: np.ndarray, reference: str
) -> dict[str, dict[str, Any]]:
    """For each label and value: number of clips, and each codec's error and gain over ``reference``
    in dB, with its interval."""
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
    own = {name: error.of(clips) for name, error in errors.items()}
    rmse = {name: error.rmse() for name, error in own.items()}
    reference_rmse = rmse[reference]
    drawn = gain_intervals(list(own.values()), own[reference])
    return {
        "clips": len(clips),
        "feature_rmse": rmse,
        "gain_over_pca_db": {
            name: None
            if value is None or reference_rmse is None
            else metrics.gain_db(value, reference_rmse)
            for name, value in rmse.items()
        },
        "gain_interval_95": {
            name: of_features for name, (of_features, _) in zip(own, drawn, strict=True)
        },
    }
