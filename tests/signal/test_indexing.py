"""Rows by their index, as a TPU reads them and as all else does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.signal import indexing

RNG = np.random.default_rng(0)
ROWS = jnp.asarray(RNG.standard_normal((50, 3)), jnp.float32)
INDEX = jnp.asarray(RNG.integers(0, 50, (4, 7)), jnp.int32)
CASES = {
    "take": (indexing.take, (ROWS, INDEX)),
    "segment_sum": (
        lambda x, i: indexing.segment_sum(x, i, 9),
        (ROWS, INDEX.ravel()[:1].repeat(50)),
    ),
}


def as_on_a_tpu(monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *x, tpu, default: tpu(*x))


@pytest.mark.parametrize("name", CASES)
def test_a_tpu_has_the_same_rows(name, monkeypatch):
    function, arguments = CASES[name]
    usual = function(*arguments)
    as_on_a_tpu(monkeypatch)
    np.testing.assert_allclose(function(*arguments), usual, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_tpu_reads_no_single_rows(name):
    function, arguments = CASES[name]
    traced = jax.jit(function).trace(*arguments)
    text = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "tpu")}
    assert "gather" in text["cpu"] or "scatter" in text["cpu"]
    assert "gather" not in text["tpu"]
    assert "scatter" not in text["tpu"]


def test_a_table_that_is_too_large_for_a_product_is_read_row_by_row():
    rows = jnp.zeros((indexing._MOST_ROWS + 1, 1))
    text = jax.jit(indexing.take).trace(rows, INDEX).lower(lowering_platforms=("tpu",)).as_text()
    assert "gather" in text
