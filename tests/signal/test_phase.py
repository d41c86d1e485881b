import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from aejax import signal

SIZES = {"n_fft": 512, "hop_length": 128}


def spectral_convergence(audio, magnitude):
    again = signal.spectrogram(audio, **SIZES, power=1.0)
    return float(jnp.linalg.norm(again - magnitude) / jnp.linalg.norm(magnitude))


@pytest.fixture(scope="module")
def magnitude():
    t = jnp.arange(127 * 128) / 16000
    chirp = jnp.sin(2 * jnp.pi * (200 * t + 800 * t**2)) + 0.3 * jnp.sin(2 * jnp.pi * 3000 * t)
    noise = 0.05 * jax.random.normal(jax.random.key(0), t.shape)
    return signal.spectrogram(chirp + noise, **SIZES, power=1.0)


def test_more_rounds_and_momentum_come_nearer(magnitude):
    def error(**options):
        return spectral_convergence(signal.griffin_lim(magnitude, **SIZES, **options), magnitude)

    plain = [error(num_iterations=n, momentum=0.0) for n in (1, 8, 32)]
    assert plain[0] > plain[1] > plain[2]
    assert error(num_iterations=32) < 0.9 * plain[2]
    assert error(num_iterations=32) < 0.1


@pytest.mark.parametrize("momentum", [0.0, 0.99])
@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
def test_it_is_librosas(magnitude, momentum, pad_mode):
    """The same start, zero phase, and after few rounds the same audio."""
    options = {"momentum": momentum, "pad_mode": pad_mode}
    theirs = librosa.griffinlim(np.asarray(magnitude).T, n_iter=4, init=None, **options, **SIZES)
    ours = signal.griffin_lim(magnitude, num_iterations=4, **options, **SIZES)
    assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)


@pytest.mark.parametrize("start", ["zero", "given"])
def test_after_32_rounds_it_is_as_near_as_librosa(magnitude, start):
    theirs = librosa.griffinlim(
        np.asarray(magnitude).T,
        n_iter=32,
        init=None if start == "zero" else "random",
        random_state=0,
        pad_mode="reflect",
        **SIZES,
    )
    phase = None
    if start == "given":
        # What librosa draws from this seed.
        angles = np.random.RandomState(0).random_sample(magnitude.T.shape)  # noqa: NPY002
        phase = jnp.asarray(2 * np.pi * angles.T, jnp.float32)
    ours = signal.griffin_lim(magnitude, phase=phase, **SIZES)
    ours, theirs = (spectral_convergence(jnp.asarray(x), magnitude) for x in (ours, theirs))
    assert ours <= theirs * 1.001


def test_convergence_is_returned_for_every_round(magnitude):
    both = jnp.stack([magnitude, 3 * magnitude, jnp.zeros_like(magnitude)])
    options = {"num_iterations": 6, "return_convergence": True}
    audio, errors = signal.griffin_lim(both, **SIZES, **options)
    assert audio.shape == (3, 127 * 128)
    assert errors.shape == (3, 7)
    np.testing.assert_allclose(errors[0], errors[1], rtol=1e-3)
    assert not errors[2].any()
    for rounds in (0, 1, 6):
        shorter = signal.griffin_lim(magnitude, **SIZES, num_iterations=rounds)
        expected = spectral_convergence(shorter, magnitude)
        assert float(errors[0, rounds]) == pytest.approx(expected, rel=1e-3)


def test_the_right_phase_is_kept():
    x = jax.random.normal(jax.random.key(0), (5000,))
    s = signal.stft(x, **SIZES)
    magnitude, phase = signal.magnitude(s), jnp.angle(s)
    back = signal.griffin_lim(magnitude, **SIZES, phase=phase, num_iterations=5, length=5000)
    np.testing.assert_allclose(back, x, atol=1e-3)


@pytest.mark.parametrize(("n_fft", "hop_length"), [(512, 128), (500, 125)])
def test_a_batch_is_its_rows(n_fft, hop_length):
    """The search makes much of little, so of each row it must see the very same numbers."""
    x = 0.1 * jax.random.normal(jax.random.key(0), (5, 9000))
    sizes = {"n_fft": n_fft, "hop_length": hop_length}
    magnitude = signal.spectrogram(x, **sizes, power=1.0)
    together = signal.griffin_lim(magnitude, **sizes)
    alone = np.stack([signal.griffin_lim(row, **sizes) for row in magnitude])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_length_and_random_start(magnitude):
    audio = signal.griffin_lim(magnitude, **SIZES, key=jax.random.key(0), length=1000)
    assert audio.shape == (1000,)
    assert np.isfinite(audio).all()
    other = signal.griffin_lim(magnitude, **SIZES, key=jax.random.key(1), length=1000)
    assert np.abs(audio - other).max() > 0.1
    assert not signal.griffin_lim(jnp.zeros_like(magnitude), **SIZES).any()


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("n_fft", [64, 63])
def test_any_size_and_every_level(n_fft, center):
    x = jax.random.normal(jax.random.key(0), (700,)).at[300:500].set(0.0)
    for level in (1e-12, 1.0, 1e12):
        magnitude = signal.spectrogram(level * x, n_fft=n_fft, center=center, power=1.0)
        audio = signal.griffin_lim(magnitude, n_fft=n_fft, center=center, num_iterations=3)
        assert np.isfinite(audio).all()
        # Without padding the first sample is under next to no window: there it may be anything.
        if center:
            assert 0.5 < float(jnp.abs(audio).max() / jnp.abs(level * x).max()) < 2


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
        ({"num_iterations": -1}, "num_iterations must be"),
        ({"n_fft": 256}, "n_fft=256 needs"),
        ({"hop_length": 600}, "hop_length=600 is larger than win_length=512"),
        ({"hop_length": 512}, "cannot be inverted"),
        ({"pad_mode": "wrap"}, "unknown pad_mode"),
        ({"phase": jnp.zeros((1, 257))}, "phase has shape"),
        ({"phase": jnp.zeros((128, 257)), "key": jax.random.key(0)}, "two different starts"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused(magnitude, changed, rule):
    with pytest.raises(ValueError, match=rule):
        signal.griffin_lim(magnitude, **SIZES | changed)
