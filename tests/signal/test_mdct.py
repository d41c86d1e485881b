import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st
from signal_cases import relative_error

from aejax import signal

RNG = np.random.default_rng(0)
WINDOWS = ["sine", ("kbd", 4 * np.pi)]


@settings(deadline=None, max_examples=10)
@given(
    quarter=st.integers(1, 130),
    samples=st.integers(1, 2000),
    batch=st.sampled_from([(), (2,), (2, 3)]),
    window=st.sampled_from(WINDOWS),
)
def test_it_comes_back_and_keeps_energy(quarter, samples, batch, window):
    x = RNG.standard_normal((*batch, samples)).astype(np.float32)
    s = signal.mdct(jnp.asarray(x), win_length=4 * quarter, window=window)
    assert s.shape == (*batch, -(-samples // (2 * quarter)) + 1, 2 * quarter)
    back = signal.imdct(s, window=window, length=samples)
    assert relative_error(back, x) < 1e-6
    assert abs(np.linalg.norm(s) / np.linalg.norm(x) - 1) < 1e-6
    filled = signal.imdct(s, window=window)
    assert relative_error(filled[..., :samples], x) < 1e-6
    np.testing.assert_allclose(filled[..., samples:], 0, atol=1e-5)


@pytest.mark.parametrize("window", WINDOWS)
def test_it_is_its_definition(window):
    n = 16
    x = RNG.standard_normal(100)
    weight = signal.window(window, 2 * n)
    k, t = np.arange(n) + 0.5, np.arange(2 * n) + 0.5 + n / 2
    cosines = np.sqrt(2 / n) * np.cos(np.pi / n * t[:, None] * k)
    padded = np.pad(x, (n, 2 * n))
    expected = [(padded[i : i + 2 * n] * weight) @ cosines for i in range(0, 101 + n, n)]
    ours = signal.mdct(jnp.asarray(x, jnp.float32), win_length=2 * n, window=window)
    assert relative_error(ours, np.asarray(expected)[: len(ours)]) < 1e-6


def test_its_kernel_is_scipys_dct():
    import importlib

    x = RNG.standard_normal((3, 64)).astype(np.float32)
    ours = importlib.import_module("aejax.signal.mdct")._dct_iv(jnp.asarray(x))
    assert relative_error(ours, scipy.fft.dct(x.astype(np.float64), 4, norm="ortho")) < 1e-6


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda x: signal.mdct(x, win_length=62), "multiple of 4, got 62"),
        (lambda x: signal.mdct(x, win_length=0), "win_length must be"),
        (lambda x: signal.mdct(x, window="hann"), "does not reconstruct"),
        (lambda x: signal.mdct(x[:0]), "at least one sample"),
        (lambda x: signal.imdct(x.reshape(10, 10), length=0), "length must be"),
        (lambda x: signal.imdct(x), "2 dimensions"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused(call, rule):
    with pytest.raises(ValueError, match=rule):
        call(jnp.zeros(100))
