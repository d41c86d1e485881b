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


def sums_of(output, reference, mask, batch):
    total = None
    for start in range(0, len(output), batch):
        part = [jnp.asarray(x[start : start + batch]) for x in (output, reference, mask)]
        total = metrics.add(total, metrics.error_sums(*part, jnp.full(4, -30.0)))
    return total


@pytest.mark.parametrize("batch", [1, 4, 6])
def test_metrics_of_masked_batches_are_those_of_the_frames(pair, batch):
    output, reference, mask = pair
    sums = sums_of(*pair, batch)
    x, y = reference[mask], output[mask]
    assert metrics.rmse(sums) == pytest.approx(np.sqrt(np.mean((x - y) ** 2)))
    assert metrics.explained_variance(sums) == pytest.approx(
        r2_score(x, y, multioutput="variance_weighted"), abs=1e-5
    )


def test_closed_forms():
    reference = jnp.asarray(RNG.normal(0, 1, (1, 5, 4)), jnp.float32)
    everything = jnp.ones((1, 5), bool)
    off = metrics.add(None, metrics.error_sums(reference + 3, reference, everything, jnp.zeros(4)))
    assert metrics.rmse(off) == pytest.approx(3, rel=1e-6)
    same = metrics.add(None, metrics.error_sums(reference, reference, everything, jnp.zeros(4)))
    assert metrics.rmse(same) == 0
    assert metrics.explained_variance(same) == 1
    assert metrics.gain_db(1.0, 2.0) == pytest.approx(6.0206, abs=1e-4)
    assert metrics.gain_db(2.0, 2.0) == 0
    assert metrics.gain_db(0.0, 2.0) is None
    assert metrics.gain_db(2.0, 0.0) is None
