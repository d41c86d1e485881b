import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import scipy.signal

from aejax import signal

HZ = np.concatenate([[0.0], np.geomspace(1, 24000, 300)])


@pytest.mark.parametrize("min_db", [-80.0, -20.0])
def test_a_weighting_is_librosas(min_db):
    hz = HZ[1:]
    expected = librosa.A_weighting(hz, min_db=min_db)
    np.testing.assert_allclose(signal.a_weighting(hz, min_db=min_db), expected, atol=1e-9)
    traced = jax.jit(lambda hz: signal.a_weighting(hz, min_db=min_db))
    np.testing.assert_allclose(traced(jnp.asarray(hz, jnp.float32)), expected, atol=1e-4)
    assert signal.a_weighting(0.0, min_db=min_db) == min_db


def test_k_weighting_is_the_standards_filters():
    sections = [
        [1.53512485958697, -2.69169618940638, 1.19839281085285]
        + [1.0, -1.69065929318241, 0.73248077421585],
        [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621],
    ]
    hz = HZ[1:]
    response = scipy.signal.sosfreqz(np.asarray(sections), hz, fs=48000)[1]
    expected = 20 * np.log10(np.abs(response))
    np.testing.assert_allclose(signal.k_weighting(hz, min_db=None), expected, atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(signal.k_weighting)(jnp.asarray(hz, jnp.float32)), expected, atol=1e-3
    )
    # BS.1770 sets its offset so that a sine of 997 Hz reads its own level.
    assert float(signal.k_weighting(997.0)) == pytest.approx(0.691, abs=0.005)
    assert float(signal.k_weighting(0.0)) == -80
