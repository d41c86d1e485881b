"""Transforms as a TPU computes them, against those of NumPy and JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.signal import fourier

RNG = np.random.default_rng(0)


@pytest.fixture
def as_on_a_tpu(monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *x, tpu, default: tpu(*x))


def assert_close(actual, expected):
    error = np.abs(np.asarray(actual) - expected).max() / np.abs(expected).max()
    assert error < 1.5e-6, error


@pytest.mark.parametrize("n", [4, 15, 128, 1024, 1026, 2048, 32000])
def test_products_are_transforms(n, as_on_a_tpu):
    x = RNG.standard_normal((2, n, 3))
    z = x[..., 0] + 1j * x[..., 1]
    spectrum = np.fft.rfft(x, axis=1)
    assert_close(fourier.rfft(jnp.asarray(x, jnp.float32), axis=1), spectrum)
    assert_close(fourier.irfft(jnp.asarray(spectrum, jnp.complex64), n, axis=1), x)
    assert_close(fourier.fft(jnp.asarray(z, jnp.complex64)), np.fft.fft(z))


def test_derivatives_of_products(as_on_a_tpu):
    x = jnp.asarray(RNG.standard_normal((2, 60)), jnp.float32)
    s = jnp.fft.rfft(jnp.flip(x, 1))
    for own, other, point in (
        (fourier.rfft, jnp.fft.rfft, x),
        (lambda s: fourier.irfft(s, 60), lambda s: jnp.fft.irfft(s, 60), s),
    ):
        actual, expected = (
            jax.grad(lambda p, f=f: jnp.square(jnp.abs(f(p))).sum())(point) for f in (own, other)
        )
        assert_close(actual, np.asarray(expected))


@pytest.mark.parametrize(("n", "by_fft"), [(1024, False), (32000, False), (1031, True)])
def test_a_tpu_compiles_an_fft_only_of_lengths_without_factors(n, by_fft):
    traced = jax.jit(lambda x: fourier.irfft(fourier.rfft(x), n)).trace(jnp.zeros((2, n)))
    text = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "tpu")}
    assert "stablehlo.fft" in text["cpu"]
    assert ("stablehlo.fft" in text["tpu"]) == by_fft
