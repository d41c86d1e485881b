import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from signal_cases import relative_error

from aejax import signal

RNG = np.random.default_rng(0)
MEL = {"sample_rate": 16000, "n_fft": 1024}
FILTERS = signal.mel_filterbank(**MEL, n_mels=80)


def real_mel(frames=5):
    """Mel spectra that some power spectrum has, over 60 dB."""
    power = np.exp(np.random.default_rng(0).uniform(-12, 2, (frames, 513))).astype(np.float32)
    return jnp.asarray(power) @ FILTERS


@pytest.mark.parametrize(("method", "most"), [("nnls", 0.01), ("kl", 0.01), ("pinv", 0.6)])
def test_the_mel_spectrum_comes_back(method, most):
    mel = real_mel()
    linear = signal.mel_to_linear(mel, **MEL, method=method)
    assert float(linear.min()) >= 0
    assert relative_error(linear @ FILTERS, mel) < most
    assert not signal.mel_to_linear(jnp.zeros((2, 80)), **MEL, method=method).any()


def test_least_squares_is_the_least():
    """Of mel spectra that no power spectrum has: there the optimum is above zero."""
    mel = jnp.asarray(RNG.exponential(size=(4, 80)), jnp.float32)
    linear = signal.mel_to_linear(mel, **MEL, num_iterations=500)
    for row, given in zip(np.asarray(linear), np.asarray(mel), strict=True):
        least = scipy.optimize.nnls(FILTERS.T.astype(np.float64), given.astype(np.float64))[1]
        error = np.linalg.norm(row @ FILTERS - given)
        assert least - 1e-5 < error < least + 1e-4 * np.linalg.norm(given)


def test_kullback_leibler_is_right_in_quiet_bands_too():
    mel = real_mel()

    def error_db(method):
        again = signal.mel_to_linear(mel, **MEL, method=method) @ FILTERS
        return float(np.sqrt(np.mean(np.square(10 * np.log10(again / mel)))))

    assert error_db("kl") < 0.2


def test_long_spectrograms_are_solved_in_chunks_of_the_same_numbers():
    mel = real_mel(8000)
    long = signal.mel_to_linear(mel, **MEL, num_iterations=3)
    short = signal.mel_to_linear(mel[4000:4100], **MEL, num_iterations=3)
    np.testing.assert_allclose(long[4000:4100], short, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"method": "nmf"}, "unknown method 'nmf'; known: 'nnls', 'kl', 'pinv'"),
        ({"num_iterations": 0}, "num_iterations must be"),
        ({"n_fft": 100}, "would be empty"),
        ({"fmax": 9000.0}, "fmax=9000"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused(changed, rule):
    with pytest.raises(ValueError, match=rule):
        signal.mel_to_linear(jnp.zeros((2, 80)), **MEL | changed)
