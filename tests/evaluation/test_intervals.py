"""Intervals over clips: where they are known, how often they hold, and that pairs stay pairs."""

import numpy as np
import pytest

from aejax.evaluation import intervals
from aejax.evaluation.metrics import Sums
from aejax.evaluation.per_clip_errors import ClipErrors, gain_intervals, measure_intervals


def errors_of(squared, frames=None):
    frames = np.ones(len(squared)) if frames is None else frames
    return ClipErrors(frames, frames * squared, frames, 4 * frames * squared)


def sums_of(errors):
    value = np.linspace(-1, 1, 3 * len(errors.frames)).reshape(-1, 3) * errors.frames[:, None]
    return Sums(
        *errors[:2], value, 9 * errors.frames, *errors[2:], errors.frames, 5 * errors.frames
    )


def test_a_mean_has_the_interval_of_the_normal_distribution():
    squared = 10 + np.random.default_rng(1).normal(0, 2, 400)
    low, high = intervals.interval(intervals.resampled(squared[:, None])[:, 0] / 400)
    width = 2 * 1.96 * squared.std() / 20
    assert (low + high) / 2 == pytest.approx(squared.mean(), abs=0.1 * width)
    assert high - low == pytest.approx(width, rel=0.1)


def test_draws_are_the_same_each_time_and_in_parts(monkeypatch):
    columns = np.random.default_rng(2).random((30, 4))
    once = intervals.resampled(columns)
    assert once.shape == (intervals.RESAMPLES, 4)
    np.testing.assert_array_equal(once, intervals.resampled(columns))
    np.testing.assert_allclose(once[:, 1], intervals.resampled(columns[:, 1:2])[:, 0])
    monkeypatch.setattr(intervals, "_MOST_DRAWN", 70)  # two draws at a time
    np.testing.assert_allclose(intervals.resampled(columns), once)


def test_ratios_are_of_sums_over_the_drawn_clips():
    """A short clip with a huge error moves the RMSE by its frames, not by its own RMSE."""
    frames = np.asarray([1000.0] * 50 + [1.0])
    squared = np.asarray([4.0] * 50 + [400.0])
    found = measure_intervals(sums_of(errors_of(squared, frames)))
    assert found["feature_rmse"][0] == 2.0
    assert found["feature_rmse"][1] < 2.02
    assert found["audio_log_mel_rmse_db"] == pytest.approx([2 * x for x in found["feature_rmse"]])
    assert 0 < found["explained_variance"][0] < found["explained_variance"][1] < 1
    assert "si_sdr_db" not in found  # 5 dB in every clip


def test_a_gain_is_over_the_same_clips_of_both():
    """Clips differ a hundredfold; the model is always 1 to 1.1 dB better."""
    rng = np.random.default_rng(3)
    pca = rng.lognormal(0, 2, 60)
    better = errors_of(pca / 10 ** (0.1 * rng.uniform(1, 1.1, 60)))
    found, same = gain_intervals([better, errors_of(pca)], errors_of(pca))
    for low, high in found:  # of features, of audio
        assert 1 < low < high < 1.1
    assert same == (None, None)  # 0 dB in every draw
    alone = measure_intervals(sums_of(better))["feature_rmse"]
    assert alone[1] / alone[0] > 1.5


def test_clips_that_were_not_evaluated_are_not_drawn():
    squared = np.random.default_rng(4).random(20) + 1
    few = errors_of(squared)
    holes = ClipErrors(*(np.insert(x, [0, 5, 20], 0.0) for x in few))
    assert holes.evaluated.tolist() == [i for i in range(23) if i not in (0, 6, 22)]
    assert gain_intervals([holes], errors_of(np.ones(23))) == gain_intervals(
        [few], errors_of(np.ones(20))
    )


def test_one_clip_has_no_interval():
    one = errors_of(np.asarray([2.0]))
    assert measure_intervals(sums_of(one)) == {}
    assert gain_intervals([one, one], one) == [(None, None)] * 2
