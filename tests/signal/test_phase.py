import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import signal

SIZES = {"n_fft": 512, "hop_length": 128}


def spectral_convergence(audio, magnitude):
    again = jnp.abs(signal.stft(audio, **SIZES))
    return float(jnp.linalg.norm(again - magnitude) / jnp.linalg.norm(magnitude))


@pytest.fixture
def magnitude():
    t = jnp.arange(127 * 128) / 16000
    chirp = jnp.sin(2 * jnp.pi * (200 * t + 800 * t**2)) + 0.3 * jnp.sin(2 * jnp.pi * 3000 * t)
    return jnp.abs(signal.stft(chirp, **SIZES))


def test_more_rounds_and_momentum_come_nearer(magnitude):
    def error(**options):
        return spectral_convergence(signal.griffin_lim(magnitude, **SIZES, **options), magnitude)

    plain = [error(num_iterations=n, momentum=0.0) for n in (1, 8, 32)]
    assert plain[0] > plain[1] > plain[2]
    assert error(num_iterations=32) < 0.9 * plain[2]
    assert error(num_iterations=32) < 0.1


def test_length_and_random_start(magnitude):
    audio = signal.griffin_lim(magnitude, **SIZES, key=jax.random.key(0), length=1000)
    assert audio.shape == (1000,)
    assert np.isfinite(audio).all()
    assert not signal.griffin_lim(jnp.zeros_like(magnitude), **SIZES).any()


def test_momentum_of_one_is_refused(magnitude):
    with pytest.raises(ValueError, match="momentum"):
        signal.griffin_lim(magnitude, **SIZES, momentum=1.0)
