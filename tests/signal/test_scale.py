import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from aejax import signal

RNG = np.random.default_rng(0)
# Fifty decades, and zero.
POWER = np.concatenate([[0.0], np.geomspace(1e-30, 1e20, 399)]).astype(np.float32).reshape(20, 20)


@pytest.mark.parametrize("options", [{}, {"reference": 3.0}, {"floor": 1e-3}, {"top_db": 40.0}])
def test_decibels_are_librosas(options):
    names = {"reference": "ref", "floor": "amin", "top_db": "top_db"}
    theirs = {"top_db": None} | {names[key]: value for key, value in options.items()}
    db = signal.power_to_db(jnp.asarray(POWER), **options)
    np.testing.assert_allclose(db, librosa.power_to_db(POWER, **theirs), atol=1e-4)
    db = signal.amplitude_to_db(jnp.asarray(POWER), **options)
    expected = librosa.amplitude_to_db(POWER.astype(np.float64), **theirs)
    np.testing.assert_allclose(db, expected, atol=1e-4)


def test_decibels_relative_to_the_loudest_of_each():
    s = jnp.asarray(POWER)[None] * jnp.asarray([1.0, 100.0], jnp.float32)[:, None, None]
    reference = s.max(axis=(1, 2), keepdims=True)
    db = signal.power_to_db(s, reference=reference, top_db=30.0)
    np.testing.assert_allclose(db.max(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(db.min(axis=(1, 2)), -30, atol=1e-5)


def test_decibels_come_back():
    level = jnp.asarray(RNG.uniform(-90, 40, 100), jnp.float32)
    for there, back in (
        (signal.db_to_power, signal.power_to_db),
        (signal.db_to_amplitude, signal.amplitude_to_db),
    ):
        np.testing.assert_allclose(back(there(level)), level, atol=1e-4)
        again = back(there(level, reference=2.5), reference=2.5)
        np.testing.assert_allclose(again, level, atol=1e-4)


def test_silence_is_at_the_floor_exactly():
    assert float(signal.power_to_db(jnp.zeros(()), floor=1e-6)) == pytest.approx(-60, abs=1e-5)
    assert float(signal.amplitude_to_db(jnp.zeros(()))) == pytest.approx(-100, abs=1e-5)
    assert float(signal.natural_log(jnp.zeros(()), floor=0.5)) == pytest.approx(np.log(0.5))


def test_mu_law_is_librosas():
    x = np.linspace(-1, 1, 1001).astype(np.float32)
    ours = signal.mu_compress(jnp.asarray(x))
    np.testing.assert_allclose(ours, librosa.mu_compress(x, quantize=False), atol=1e-6)
    np.testing.assert_allclose(signal.mu_expand(ours), x, atol=1e-6)
    # Away from the steps' edges, where the last digit decides.
    x = RNG.uniform(-1, 1, 1000).astype(np.float32)
    steps = signal.mu_quantize(jnp.asarray(x))
    np.testing.assert_array_equal(steps, librosa.mu_compress(x, quantize=True))
    back = librosa.mu_expand(np.asarray(steps), quantize=True)
    np.testing.assert_allclose(signal.mu_dequantize(steps), back, atol=1e-6)
    assert int(signal.mu_quantize(jnp.float32(7.0))) == 127
    assert int(signal.mu_quantize(jnp.float32(-7.0))) == -128
    np.testing.assert_allclose(jax.grad(signal.mu_compress)(0.0), 255 / np.log(256), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda x: signal.power_to_db(x, floor=0.0), "floor must be above 0"),
        (lambda x: signal.power_to_db(x, floor=float("nan")), "floor must be a number"),
        (lambda x: signal.amplitude_to_db(x, floor=-1.0), "floor must be above 0 .* -1.0"),
        (lambda x: signal.power_to_db(x, reference=0.0), "reference must be above 0"),
        (lambda x: signal.power_to_db(x, top_db=-3.0), "top_db must be above 0"),
        (lambda x: signal.natural_log(x, floor=0.0), "floor"),
        (lambda x: signal.mu_compress(x, mu=0.0), "mu must be above 0"),
        (lambda x: signal.mu_quantize(x, mu=256), "mu must be odd"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused(call, rule):
    with pytest.raises(ValueError, match=rule):
        call(jnp.zeros((2, 2)))
