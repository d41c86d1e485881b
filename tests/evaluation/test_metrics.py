import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import r2_score

from aejax.evaluation import metrics

RNG = np.random.default_rng(0)


@pytest.fixture
def pair():
    reference = RNG.normal(-30, 12, (6, 10, 4)).astype(np.float32)
    output = reference + RNG.normal(0, 3, reference.shape).astype(np.float32)
    mask = np.arange(10)[None] < RNG.integers(0, 11, 6)[:, None]
    return output, reference, mask


def sums_of(output, reference, mask):
    """Sums of rows; the audio's are those of the features."""
    arrays = [jnp.asarray(x) for x in (output, reference, mask)]
    errors = metrics.squared_errors(*arrays)
    spread = metrics.values(*arrays[1:], jnp.full(reference.shape[-1], -30.0))
    rows = [np.asarray(x, np.float64) for x in (*errors, *spread, *errors, mask.any(1), errors[0])]
    return metrics.Sums(*rows)


def test_metrics_of_masked_rows_are_those_of_the_frames(pair):
    output, reference, mask = pair
    found = metrics.measures(sums_of(*pair).total())
    x, y = reference[mask], output[mask]
    assert found["feature_rmse"][0] == pytest.approx(np.sqrt(np.mean((x - y) ** 2)))
    assert found["explained_variance"][0] == pytest.approx(
        r2_score(x, y, multioutput="variance_weighted"), abs=1e-5
    )
    assert found["si_sdr_db"][0] == pytest.approx(len(x) / mask.any(1).sum())


def test_closed_forms():
    reference = RNG.normal(0, 1, (1, 5, 4)).astype(np.float32)
    everything = np.ones((1, 5), bool)
    off = metrics.measures(sums_of(reference + 3, reference, everything))
    assert off["feature_rmse"][0] == off["audio_log_mel_rmse_db"][0] == pytest.approx(3, rel=1e-6)
    same = metrics.measures(sums_of(reference, reference, everything))
    assert same["feature_rmse"][0] == 0
    assert same["explained_variance"][0] == 1
    assert metrics.gain_db(1.0, 2.0) == pytest.approx(6.0206, abs=1e-4)
    assert metrics.gain_db(2.0, 2.0) == 0
    assert metrics.gain_db(0.0, 2.0) is None
    assert metrics.gain_db(2.0, 0.0) is None


def test_a_metric_without_variance_or_frames_is_nan():
    flat = np.full((2, 5, 4), -30, np.float32)
    found = metrics.measures(sums_of(flat, flat, np.asarray([[True] * 5, [False] * 5])))
    assert np.isnan(found["explained_variance"]).all()
    assert found["feature_rmse"][0] == 0
    assert np.isnan([found[name][1] for name in found]).all()
