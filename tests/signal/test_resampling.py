import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from signal_cases import relative_error

from aejax import signal
from aejax.signal import resampling

RNG = np.random.default_rng(0)


@settings(deadline=None, max_examples=15)
@given(
    up=st.integers(1, 40),
    down=st.integers(1, 40),
    samples=st.integers(1, 2000),
    num_zeros=st.integers(1, 64),
)
def test_it_is_scipys_polyphase_filter(up, down, samples, num_zeros):
    x = RNG.standard_normal((2, samples)).astype(np.float32)
    ours = signal.resample(jnp.asarray(x), orig_sr=down, target_sr=up, num_zeros=num_zeros)
    assert ours.shape == (2, -(-samples * up // down))
    divisor = np.gcd(up, down)
    up, down = up // divisor, down // divisor
    # The same filter, as scipy wants it: all phases in a row, at `up` times the rate.
    ratio = min(1, up / down)
    half = int(np.ceil(num_zeros * up / ratio))
    time = np.arange(-half, half + 1) / up * ratio
    taper = np.i0(14.77 * np.sqrt(np.maximum(0, 1 - (time / num_zeros) ** 2))) / np.i0(14.77)
    # scipy multiplies by `up` itself.
    taps = ratio / up * 0.9476 * np.sinc(0.9476 * time) * taper * (np.abs(time) <= num_zeros)
    if up == down:
        np.testing.assert_array_equal(ours, x)
        return
    theirs = scipy.signal.resample_poly(x.astype(np.float64), up, down, axis=-1, window=taps)
    assert relative_error(ours, theirs[:, : ours.shape[1]]) < 2e-6


@pytest.mark.parametrize(("orig_sr", "target_sr"), [(44100, 16000), (16000, 44100), (10, 11)])
def test_what_fits_passes_and_what_does_not_is_gone(orig_sr, target_sr):
    time = np.arange(2 * 4410) / orig_sr
    nyquist = min(orig_sr, target_sr) / 2

    def tone(share):
        return np.sin(2 * np.pi * share * nyquist * time).astype(np.float32)

    middle = slice(2 * 4410 * target_sr // orig_sr // 4, 2 * 4410 * target_sr // orig_sr * 3 // 4)
    passed = signal.resample(jnp.asarray(tone(0.87)), orig_sr=orig_sr, target_sr=target_sr)
    again = np.arange(len(passed)) / target_sr
    expected = np.sin(2 * np.pi * 0.87 * nyquist * again)
    assert np.abs(passed - expected)[middle].max() < 10 ** (0.01 / 20) - 1
    if target_sr < orig_sr:
        gone = signal.resample(jnp.asarray(tone(1.03)), orig_sr=orig_sr, target_sr=target_sr)
        assert np.abs(gone)[middle].max() < 1e-6


def test_it_agrees_with_soxr_where_both_pass():
    x = scipy.signal.sosfilt(
        scipy.signal.cheby2(16, 120, 0.6, output="sos"), RNG.standard_normal(22050)
    ).astype(np.float32)
    ours = np.asarray(signal.resample(jnp.asarray(x), orig_sr=22050, target_sr=16000))
    theirs = soxr.resample(x, 22050, 16000, quality="VHQ")
    assert relative_error(ours[1000:-1000], theirs[1000:-1000]) < 1e-4


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"orig_sr": 0}, "orig_sr must be"),
        ({"target_sr": -1}, "target_sr must be"),
        ({"target_sr": 11.5}, "whole number"),
        ({"num_zeros": 0}, "num_zeros"),
        ({"rolloff": 0.0}, "rolloff"),
        ({"rolloff": 1.5}, "rolloff"),
        ({"beta": -1.0}, "beta"),
        ({"orig_sr": 44100, "target_sr": 44101}, "44101/44100.*larger common divisor"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused(changed, rule):
    with pytest.raises(ValueError, match=rule):
        signal.resample(jnp.zeros(100), **{"orig_sr": 10, "target_sr": 9} | changed)


SPEEDS = [0.25, 0.613, 0.99, 1.0, 1.01, 1.37, 2.0, 3.3]


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_sine_at_another_speed_is_another_sine(speed):
    """Up to 0.6 of the band that passes; above the new Nyquist frequency there is nothing."""
    samples, length = 16000, 4000
    for place in (0.05, 0.3, 0.6):
        hz = place * 0.5 / max(1.0, speed)  # cycles per sample
        x = jnp.asarray(np.sin(2 * np.pi * hz * np.arange(samples)), jnp.float32)
        y = signal.play_at_speed(x, jnp.float32(speed), jnp.int32(37), length=length)
        exact = 37 + np.arange(length) * float(np.float32(speed))
        expected = np.sin(2 * np.pi * hz * exact)
        inside = (exact > 20) & (exact < samples - 20)
        # The faster, the fewer zero crossings there are in 32 taps.
        assert np.abs(y - expected)[inside].max() < (2e-3 if speed <= 2 else 1e-2)
    if speed > 1.3:
        x = jnp.asarray(np.sin(np.pi * 0.98 * np.arange(samples)), jnp.float32)
        y = signal.play_at_speed(x, jnp.float32(speed), jnp.int32(0), length=length)
        assert np.abs(y[20:-20]).max() < 0.05


def test_speed_1_changes_nothing():
    x = jnp.asarray(RNG.standard_normal((3, 2, 500)), jnp.float32)
    speed, offset = jnp.ones((3, 2)), jnp.zeros((3, 2), jnp.int32)
    y = signal.play_at_speed(x, speed, offset, length=500)
    np.testing.assert_allclose(y, x, atol=1e-6)
    later = signal.play_at_speed(x, speed, offset + 123, length=500)
    np.testing.assert_allclose(later[..., :377], x[..., 123:], atol=1e-6)
    np.testing.assert_allclose(later[..., 377:], 0, atol=1e-6)


def test_positions_stay_exact_far_into_a_signal():
    """In float32 a position of a million has a 16th of a sample left."""
    samples, speed = 2**20, np.float32(1.1)
    x = np.sin(2 * np.pi * 0.1 * np.arange(samples)).astype(np.float32)
    length = int(samples / 1.1) - 50
    y = signal.play_at_speed(jnp.asarray(x), jnp.asarray(speed), jnp.int32(0), length=length)
    exact = np.arange(length) * np.float64(speed)
    error = np.abs(y - np.sin(2 * np.pi * 0.1 * exact))
    assert error[-10000:].max() < 2e-3


def test_bad_arguments_to_play_at_speed_are_refused():
    x, speed, offset = jnp.ones(9), jnp.float32(1), jnp.int32(0)
    with pytest.raises(ValueError, match="num_taps must be even, got 7"):
        signal.play_at_speed(x, speed, offset, length=3, num_taps=7)
    with pytest.raises(ValueError, match="length must be a whole number"):
        signal.play_at_speed(x, speed, offset, length=0)


@pytest.mark.parametrize("max_speed", [1.6, 4.0])
def test_a_tpu_changes_speed_alike(max_speed):
    """In blocks instead of single samples: the same sound to -100 dB, before and after it too."""
    x = jnp.asarray(RNG.standard_normal((3, 2, 3000)), jnp.float32)
    speed = jnp.asarray(RNG.uniform(0.25, max_speed, (3, 2)), jnp.float32)
    speed = speed.at[0, 0].set(1.0).at[1, 1].set(max_speed)
    offset = jnp.asarray([[-200, 0], [700, 31], [2800, 32]], jnp.int32)

    position, fraction = resampling._positions(speed[..., None], offset[..., None], 2000, x.dtype)
    arguments = x, position, fraction, jnp.minimum(1.0, 1 / speed)[..., None]
    usual = resampling._by_taps(*arguments, num_taps=32)
    window = math.ceil(32 * max_speed) + 32
    error = resampling._by_blocks(*arguments, num_taps=32, window=window) - usual
    assert 20 * np.log10(np.std(error) / np.std(usual)) < -100
    assert np.abs(error).max() < 1e-3


def test_a_tpu_reads_no_single_samples_to_change_speed():
    x, speed, offset = jnp.zeros((2, 500)), jnp.ones(2), jnp.zeros(2, jnp.int32)
    play = jax.jit(lambda *x: signal.play_at_speed(*x, length=100))
    traced = play.trace(x, speed, offset)
    assert "gather" in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "gather" not in traced.lower(lowering_platforms=("tpu",)).as_text()
