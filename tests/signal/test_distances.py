import functools
import warnings

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from aejax import signal

RNG = np.random.default_rng(0)
# A little more than the longest transform; one size for all, as some take long to compile.
SAMPLES = 2100
RATE = {"sample_rate": 16000}

# One value for each element of a batch, at sizes for tests.
OF_EACH = {
    "multi_resolution_stft": functools.partial(
        signal.multi_resolution_stft, n_ffts=(64, 256), hop_fraction=0.5
    ),
    "multi_scale_mel": functools.partial(
        signal.multi_scale_mel, **RATE, n_ffts=(128, 256), n_mels=(10, 20)
    ),
    "si_sdr": signal.si_sdr,
    "waveform_l1": signal.waveform_l1,
    "a_weighted_spectral_distance": functools.partial(
        signal.a_weighted_spectral_distance, **RATE, n_fft=256
    ),
}
# One value for all.
OF_ALL = {
    "auraloss_multi_resolution_stft": signal.auraloss_multi_resolution_stft,
    "dac_mel": functools.partial(signal.dac_mel, **RATE),
}
DISTANCES = OF_EACH | OF_ALL
# As they are called without settings of one's own.
DEFAULTS = OF_ALL | {
    "multi_resolution_stft": signal.multi_resolution_stft,
    "multi_scale_mel": functools.partial(signal.multi_scale_mel, **RATE),
    "a_weighted_spectral_distance": functools.partial(signal.a_weighted_spectral_distance, **RATE),
}


def sounds(*batch):
    """An estimate and a reference, of levels that differ over the batch, each a little silent."""
    level = 10 ** RNG.uniform(-3, 0, (*batch, 1))
    reference = RNG.standard_normal((*batch, SAMPLES))
    estimate = reference + 0.5 * RNG.standard_normal((*batch, SAMPLES))
    reference[..., : SAMPLES // 3] = 0
    estimate[..., : SAMPLES // 4] = 0
    return (jnp.asarray(level * x, jnp.float32) for x in (estimate, reference))


def power_spectra(x, n_fft, hop_length, win_length=None, scale=1.0):
    """librosa's, in float64, ``[..., bins, frames]``."""
    s = librosa.stft(
        scale * np.asarray(x, np.float64),
        n_fft=n_fft,
        hop_length=hop_length,
        win_length=win_length,
        pad_mode="reflect",
    )
    return np.abs(s) ** 2


def mel_filters(**sizes):
    with warnings.catch_warnings():
        # Of empty filters.
        warnings.simplefilter("ignore", UserWarning)
        return librosa.filters.mel(**sizes, dtype=np.float64)


def slow_multi_resolution_stft(estimate, reference, n_ffts, hop_fraction):
    total = 0
    for n_fft in n_ffts:
        hop_length = int(n_fft * hop_fraction)
        x, y = (
            np.sqrt(power_spectra(z, n_fft, hop_length, scale=4 / n_fft))
            for z in (estimate, reference)
        )
        convergence = np.sqrt(np.sum((x - y) ** 2) / np.sum(y**2))
        total += convergence + np.mean(np.abs(np.log(np.maximum(x, 1e-5) / np.maximum(y, 1e-5))))
    return total / len(n_ffts)


def slow_multi_scale_mel(estimate, reference, n_ffts, n_mels):
    total = 0
    for n_fft, bands in zip(n_ffts, n_mels, strict=True):
        filters = mel_filters(sr=16000, n_fft=n_fft, n_mels=bands, norm=None)
        x, y = (
            filters @ np.sqrt(power_spectra(z, n_fft, n_fft // 4, scale=4 / n_fft))
            for z in (estimate, reference)
        )
        total += np.mean(np.abs(np.log(np.maximum(x, 1e-5)) - np.log(np.maximum(y, 1e-5))))
    return total / len(n_ffts)


def slow_a_weighted_spectral_distance(estimate, reference, n_fft):
    x, y = (
        10 * np.log10(np.maximum(power_spectra(z, n_fft, n_fft // 4, scale=4 / n_fft), 1e-10))
        for z in (estimate, reference)
    )
    hz = librosa.fft_frequencies(sr=16000, n_fft=n_fft)
    with np.errstate(divide="ignore"):
        weight = 10 ** (librosa.A_weighting(hz, min_db=None) / 10)
    mean = np.mean([np.average((x - y)[:, t] ** 2, weights=weight) for t in range(x.shape[1])])
    return np.sqrt(mean)


def slow_auraloss(estimate, reference):
    total = 0
    for n_fft, hop_length, win_length in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        x, y = (
            np.sqrt(np.maximum(power_spectra(z, n_fft, hop_length, win_length), 1e-8))
            for z in (estimate, reference)
        )
        convergence = np.linalg.norm((x - y).ravel()) / np.linalg.norm(y.ravel())
        total += convergence + np.mean(np.abs(np.log(x) - np.log(y)))
    return total / 3


def slow_dac_mel(estimate, reference, sample_rate):
    total = 0
    for scale in range(7):
        n_fft, n_mels = 32 * 2**scale, 5 * 2**scale
        filters = mel_filters(sr=sample_rate, n_fft=n_fft, n_mels=n_mels)
        x, y = (
            filters @ np.sqrt(power_spectra(z, n_fft, n_fft // 4)) for z in (estimate, reference)
        )
        total += np.mean(np.abs(np.log10(np.maximum(x, 1e-5)) - np.log10(np.maximum(y, 1e-5))))
    return total


@pytest.mark.parametrize("n_ffts", [(512, 1024, 2048), (100, 33)])
@pytest.mark.parametrize("hop_fraction", [0.25, 0.5])
def test_multi_resolution_stft_is_its_definition(n_ffts, hop_fraction):
    x, y = sounds()
    ours = signal.multi_resolution_stft(x, y, n_ffts=n_ffts, hop_fraction=hop_fraction)
    # Of a Hann window of an odd length, 33, the sum is half of it too.
    slow = slow_multi_resolution_stft(x, y, n_ffts, hop_fraction)
    assert float(ours) == pytest.approx(slow, rel=1e-5)


def test_multi_scale_mel_is_its_definition():
    x, y = sounds()
    slow = slow_multi_scale_mel(x, y, (256, 512, 1024, 2048), (20, 40, 80, 160))
    assert float(signal.multi_scale_mel(x, y, **RATE)) == pytest.approx(slow, rel=1e-5)


def test_a_weighted_spectral_distance_is_its_definition():
    x, y = sounds()
    for n_fft in (2048, 500):
        slow = slow_a_weighted_spectral_distance(x, y, n_fft)
        ours = signal.a_weighted_spectral_distance(x, y, **RATE, n_fft=n_fft)
        assert float(ours) == pytest.approx(slow, rel=1e-5)


def test_auraloss_is_its_definition():
    x, y = sounds(2, 2)
    ours = float(signal.auraloss_multi_resolution_stft(x, y))
    assert ours == pytest.approx(slow_auraloss(x, y), rel=1e-5)


# At 48 kHz some of its filters are empty.
@pytest.mark.parametrize(("sample_rate", "batch"), [(16000, (2,)), (44100, (2,)), (48000, (2,))])
def test_dac_mel_is_its_definition(sample_rate, batch):
    x, y = sounds(*batch)
    ours = float(signal.dac_mel(x, y, sample_rate=sample_rate))
    assert ours == pytest.approx(slow_dac_mel(x, y, sample_rate), rel=1e-5)


def test_the_originals_gave_these_numbers():
    """What auraloss 0.4.0 says, and descript-audio-codec 1.0.0 over descript-audiotools 0.7.2."""
    n = np.arange(SAMPLES)
    noise = (n**2 * 7919 % 10007) / 10007 - 0.5
    tones = 0.5 * np.sin(0.1 * n) + 0.3 * np.sin(2e-4 * n**2)
    x = jnp.asarray([tones, 0.04 * noise + 0.01 * tones], jnp.float32)
    y = jnp.asarray([tones + 0.1 * noise, 0.05 * noise], jnp.float32)
    assert float(signal.auraloss_multi_resolution_stft(x, y)) == pytest.approx(2.727049, rel=1e-5)
    for sample_rate, original in ((16000, 4.118123), (44100, 3.046882), (48000, 2.969923)):
        ours = float(signal.dac_mel(x, y, sample_rate=sample_rate))
        assert ours == pytest.approx(original, rel=1e-5)


@pytest.mark.parametrize("gain", [0.5, 2.0, 10.0])
def test_a_gain_is_as_far_as_it_should_be(gain):
    # Far above every floor.
    y = jnp.asarray(RNG.standard_normal((2, SAMPLES)), jnp.float32)
    log, convergence = abs(np.log(gain)), abs(gain - 1)
    expected = {
        "multi_resolution_stft": convergence + log,
        "auraloss_multi_resolution_stft": convergence + log,
        "multi_scale_mel": log,
        "dac_mel": 7 * log / np.log(10),
        "a_weighted_spectral_distance": 20 * log / np.log(10),
    }
    assert expected.keys() == DEFAULTS.keys()
    for name, distance in DEFAULTS.items():
        np.testing.assert_allclose(distance(gain * y, y), expected[name], rtol=1e-4, err_msg=name)


def test_si_sdr_is_what_it_is_made_to_be():
    t = 2 * np.pi * np.arange(1600) / 160
    reference, orthogonal = np.sin(t), np.cos(t)
    for db in (-30, 0, 20, 80):
        estimate = -3 * (reference + 10 ** (-db / 20) * orthogonal) + 0.5
        x, y = (jnp.asarray(z, jnp.float32) for z in (estimate, reference - 2))
        for level in (1, 1e-2):
            assert float(signal.si_sdr(level * x, y)) == pytest.approx(db, abs=0.02)
    assert float(signal.si_sdr(y, y)) == pytest.approx(100, abs=1e-3)
    orthogonal = jnp.asarray(orthogonal, jnp.float32)
    assert float(signal.si_sdr(orthogonal, y)) == pytest.approx(-100, abs=1e-3)
    # The documentation of torchmetrics has these numbers, with the mean taken off.
    x, y = jnp.asarray([2.5, 0.0, 2.0, 8.0]), jnp.asarray([3.0, -0.5, 2.0, 7.0])
    assert float(signal.si_sdr(x, y)) == pytest.approx(15.0918, abs=1e-4)


def test_si_sdr_of_silence_is_the_least():
    silence, sound = jnp.zeros(SAMPLES), jnp.asarray(RNG.standard_normal(SAMPLES), jnp.float32)
    constant = jnp.full(SAMPLES, 0.1)
    for pair in ((silence, silence), (silence, sound), (sound, silence), (constant, sound)):
        assert float(signal.si_sdr(*pair)) == pytest.approx(-100, abs=1e-3)
    # Under the floor, which one may move.
    assert float(signal.si_sdr(1e-7 * sound, 1e-7 * sound)) < 0
    assert float(signal.si_sdr(1e-7 * sound, 1e-7 * sound, floor=1e-9)) > 99


def test_waveform_l1_is_its_definition():
    x, y = sounds(2)
    np.testing.assert_allclose(signal.waveform_l1(x, y), np.abs(x - y).mean(1), rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(DISTANCES) - {"si_sdr"}))
def test_equals_are_at_zero(name):
    x, _ = sounds(2)
    for sound in (x, jnp.zeros_like(x)):
        # The two are not at the same place in a matrix product, and are rounded differently.
        np.testing.assert_allclose(DISTANCES[name](sound, sound), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "at_floor"),
    [
        ("multi_resolution_stft", 1e-5),
        # The three bins a sine is in add up to 2, in a triangle that is as wide.
        ("multi_scale_mel", 1e-5 / 2),
        ("a_weighted_spectral_distance", 1e-5),
    ],
)
def test_what_is_below_the_floor_is_silence(name, at_floor):
    """A full-scale sine in the middle of a bin is 0 dB, the floor 100 dB below."""
    # In the middle, for all sizes, and even at both ends, so that reflection goes on with it.
    sine = jnp.asarray(np.cos(2 * np.pi * 0.25 * np.arange(4097)), jnp.float32)
    options = {"n_ffts": (512,), "n_mels": (8,)} if name == "multi_scale_mel" else {}
    distance = functools.partial(DEFAULTS[name], **options)
    silence = jnp.zeros_like(sine)
    # Spectral convergence has the same floor, and the silent estimate is all of its error.
    below = distance(silence, 0.9 * at_floor * sine)
    assert float(below) < (0.1 if name == "multi_resolution_stft" else 1e-6)
    assert float(distance(silence, 3 * at_floor * sine)) > float(below) + 1e-3


def test_spectral_convergence_with_a_silent_reference():
    """It is relative to the floor then: the estimate's RMS magnitude over it."""
    x, _ = sounds()
    x, silence = 1e-3 * x, jnp.zeros_like(x)
    s = np.sqrt(power_spectra(x, 256, 64, scale=4 / 256))
    for floor in (1e-2, 1e-3):
        convergence = np.sqrt(np.mean(s**2)) / floor
        log = np.mean(np.log(np.maximum(s, floor) / floor))
        ours = signal.multi_resolution_stft(x, silence, n_ffts=(256,), floor=floor)
        assert float(ours) == pytest.approx(convergence + log, rel=1e-5)


@pytest.mark.parametrize("name", OF_EACH)
def test_each_element_of_a_batch_stands_for_itself(name):
    distance = OF_EACH[name]
    x, y = sounds(2, 3)
    values = distance(x, y)
    assert values.shape == (2, 3)
    assert values.dtype == jnp.float32
    # They differ, or this would not tell.
    assert np.ptp(values) > 0.01 * np.abs(values).max()
    mapped = jax.jit(jax.vmap(jax.vmap(distance)))(x, y)
    np.testing.assert_allclose(mapped, values, rtol=1e-4)
    np.testing.assert_allclose(distance(x[1, 2], y[1, 2]), values[1, 2], rtol=1e-4)
    assert distance(x[:0], y[:0]).shape == (0, 3)


@pytest.mark.parametrize("name", OF_ALL)
def test_the_originals_have_one_value_for_all(name):
    distance = OF_ALL[name]
    x, y = sounds(2)
    level = jnp.asarray([[1.0], [0.01]])
    # The loud are right and the quiet wrong.
    x, y = level * jnp.stack([y[0], x[1]]), level * y
    value = distance(x, y)
    assert value.shape == ()
    assert value.dtype == jnp.float32
    mean = jax.jit(jax.vmap(distance))(x, y).mean()
    if name == "dac_mel":
        np.testing.assert_allclose(mean, value, rtol=1e-5)
    else:
        # Its norms are over the batch, where the loud decide.
        assert float(value) < 0.9 * float(mean)
    with pytest.raises(ValueError, match=f"nothing to compare in audio of shape .0, {SAMPLES}"):
        distance(x[:0], y[:0])


@pytest.mark.parametrize("name", DISTANCES)
def test_values_and_gradients_are_finite(name):
    distance = DISTANCES[name]
    gradients = jax.jit(jax.value_and_grad(lambda x, y: distance(x, y).mean(), argnums=(0, 1)))
    silence = np.zeros((2, SAMPLES))
    sound = RNG.standard_normal((2, SAMPLES))
    square = np.sign(np.sin(np.arange(2 * SAMPLES) / 5 + 0.1)).reshape(2, SAMPLES)
    half = np.where(np.arange(SAMPLES) < SAMPLES // 2, sound, 0)
    cases = [silence, sound, square, half, np.full_like(sound, 1e-40), 1e-25 * sound, silence + 1]
    for x in cases:
        for y in cases:
            pair = (jnp.asarray(z, jnp.float32) for z in (x, y))
            for array in jax.tree.leaves(gradients(*pair)):
                assert np.isfinite(array).all()
    # And they are not zero only because nothing is ever let through.
    _, (x, y) = gradients(jnp.asarray(sound, jnp.float32), jnp.asarray(half, jnp.float32))
    assert np.abs(x).max() > 0
    assert np.abs(y).max() > 0


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients_agree_with_finite_differences(name):
    with jax.enable_x64(True):
        # All from one program: `jax.test_util.check_grads` would compile three.
        function = jax.jit(
            jax.value_and_grad(lambda x, y: DISTANCES[name](x, y).mean(), argnums=(0, 1))
        )
        rng = np.random.default_rng(1)
        y = rng.uniform(-1, 1, (2, SAMPLES))
        x = y + rng.uniform(-0.5, 0.5, y.shape)
        value, gradients = function(jnp.asarray(x), jnp.asarray(y))
        assert value.dtype == jnp.float64
        for moved in (0, 1):
            step = 1e-7 * rng.standard_normal(y.shape)
            dx, dy = (step, 0) if moved == 0 else (0, step)
            ahead, behind = (
                function(jnp.asarray(x + sign * dx), jnp.asarray(y + sign * dy))[0]
                for sign in (1, -1)
            )
            slope = float((ahead - behind) / 2)
            assert slope == pytest.approx(float(np.sum(gradients[moved] * step)), rel=1e-4)


@pytest.mark.parametrize("name", DEFAULTS)
def test_audio_that_is_too_short_is_refused(name):
    distance = DEFAULTS[name]
    for samples in (1024, 300, 1):
        with pytest.raises(ValueError, match=f"more samples than .* = 1024, x has {samples};"):
            jax.eval_shape(distance, jnp.zeros((2, samples)), jnp.zeros((2, samples)))
    jax.eval_shape(distance, jnp.zeros(1025), jnp.zeros(1025))


X = jnp.zeros((2, SAMPLES))


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize(
    ("x", "y", "rule"),
    [
        (X, X[:1], f"same shape and type, got float32 .2, {SAMPLES}. and float32 .1, {SAMPLES}."),
        (X, X[0], "same shape and type"),
        (X, X[:, :-1], "same shape and type"),
        (X.astype(jnp.int16), X, "estimate must be float32 .* got int16"),
        (X, X.astype(jnp.bfloat16), "reference must be float32 .* got bfloat16"),
        (X[0, 0], X[0, 0], "estimate must have at least 1 dimensions"),
        (X[:, :0], X[:, :0], "nothing to compare in audio of shape .2, 0"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_pair_of_signals_is_refused(name, x, y, rule):
    with pytest.raises(ValueError, match=rule):
        DISTANCES[name](x, y)


@pytest.mark.usefixtures("unchecked_types")
def test_signals_of_two_types_are_refused():
    with jax.enable_x64(True), pytest.raises(ValueError, match="got float32 .* and float64"):
        signal.waveform_l1(X, X.astype(jnp.float64))


@pytest.mark.parametrize(
    ("name", "changed", "rule"),
    [
        ("multi_resolution_stft", {"n_ffts": ()}, "n_ffts must name at least one size"),
        ("multi_resolution_stft", {"n_ffts": (256, 0)}, "must be a whole number"),
        ("multi_resolution_stft", {"hop_fraction": 0.0}, "hop_fraction must be above 0 .* got 0.0"),
        ("multi_resolution_stft", {"hop_fraction": 1.5}, "hop_fraction must be .* got 1.5"),
        ("multi_resolution_stft", {"floor": 0.0}, "floor must be above 0"),
        ("multi_scale_mel", {"n_ffts": (256,)}, r"in pairs, got \(256,\) and \(10, 20\)"),
        ("multi_scale_mel", {"n_ffts": (), "n_mels": ()}, "in pairs"),
        ("multi_scale_mel", {"n_mels": (10, 100)}, "n_mels=100 is more than n_fft=256 resolves"),
        ("multi_scale_mel", {"sample_rate": 0}, "sample_rate must be above 0"),
        ("multi_scale_mel", {"floor": 0.0}, "floor must be above 0"),
        ("dac_mel", {"sample_rate": -1.0}, "sample_rate must be above 0"),
        ("si_sdr", {"floor": 0.0}, "floor must be above 0"),
        ("a_weighted_spectral_distance", {"sample_rate": 0}, "sample_rate must be above 0"),
        ("a_weighted_spectral_distance", {"n_fft": 0}, "must be a whole number"),
        ("a_weighted_spectral_distance", {"floor": 0.0}, "floor must be above 0"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused(name, changed, rule):
    with pytest.raises(ValueError, match=rule):
        DISTANCES[name](X, X, **changed)
