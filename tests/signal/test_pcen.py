import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from signal_cases import relative_error

from aejax import signal

SIZES = {"sample_rate": 16000, "hop_length": 256}


@pytest.mark.parametrize(
    "options",
    [{}, {"gain": 0.5, "bias": 10.0, "power": 0.25}, {"gain": 1.0, "time_constant": 0.06}],
)
@pytest.mark.parametrize("level", [1.0, 2.0**31])
def test_pcen_is_librosas(options, level):
    s = level * np.random.default_rng(0).exponential(size=(2, 300, 5))
    ours = signal.pcen(jnp.asarray(s, jnp.float32), **SIZES, **options)
    theirs = librosa.pcen(s, sr=16000, hop_length=256, axis=-2, **options)
    assert relative_error(ours, theirs) < 1e-5


def test_silence_stays_silent_and_loudness_is_taken_out():
    assert not signal.pcen(jnp.zeros((10, 3)), **SIZES).any()
    s = jnp.full((3000, 1), 1e3)
    quiet, loud = (signal.pcen(s * factor, **SIZES)[-1] for factor in (1.0, 1e3))
    assert abs(float(loud[0] / quiet[0]) - 1) < 0.15


@pytest.mark.parametrize(
    "changed",
    [
        {"gain": -1.0},
        {"bias": 0.0},
        {"power": 0.0},
        {"time_constant": 0.0},
        {"floor": 0.0},
        {"sample_rate": -1.0},
        {"hop_length": 0},
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused(changed):
    with pytest.raises(ValueError, match=next(iter(changed))):
        signal.pcen(jnp.zeros((10, 3)), **SIZES | changed)
