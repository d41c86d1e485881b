"""Audio as rows of channels that end where their clip ends; and distances that know of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import signal

RNG = np.random.default_rng(0)
SAMPLES, ENDS = 1200, np.asarray([1200, 400, 0])


def sound(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_behind_the_end_there_is_silence():
    audio = sound(3, SAMPLES, 2)
    ended = np.asarray(signal.until_end(jnp.asarray(audio), jnp.asarray(ENDS)))
    for row, whole, end in zip(ended, audio, ENDS, strict=True):
        np.testing.assert_array_equal(row[:end], whole[:end])
        np.testing.assert_array_equal(row[end:], 0)
    rows, ends = signal.channel_rows(jnp.asarray(audio), jnp.asarray(ENDS))
    assert ends.tolist() == [1200, 1200, 400, 400, 0, 0]
    np.testing.assert_array_equal(rows[3], ended[1, :, 1])


@pytest.mark.parametrize("name", ["si_sdr", "waveform_l1"])
def test_padding_is_no_part_of_any_mean(name):
    """Each row is as if it were alone and not longer than its clip, also with an offset."""
    distance = getattr(signal, name)
    x, y = 0.3 + 0.1 * sound(2, SAMPLES), 0.2 + 0.1 * sound(2, SAMPLES)
    y[1] += x[1]
    ends = jnp.asarray(ENDS[:2])
    found = distance(jnp.asarray(x), jnp.asarray(y), length=ends)
    for row, end in enumerate(ENDS[:2]):
        alone = distance(jnp.asarray(x[row, :end]), jnp.asarray(y[row, :end]))
        assert float(found[row]) == pytest.approx(float(alone), rel=1e-4)
    nothing = distance(jnp.zeros((1, SAMPLES)), jnp.zeros((1, SAMPLES)), length=jnp.asarray([0]))
    assert bool(jnp.isfinite(nothing).all())


@pytest.mark.parametrize("name", ["auraloss_multi_resolution_stft", "dac_mel"])
def test_a_distance_of_a_batch_is_that_of_the_rows_that_count(name):
    distance = getattr(signal, name)
    if name == "dac_mel":

        def distance(x, y, **options):
            return signal.dac_mel(x, y, sample_rate=16_000, **options)

    x, y = sound(4, 2100), sound(4, 2100)
    x[1:3], y[2] = 0, 0
    counts = np.asarray([True, False, False, True])
    found = distance(x, y, where=jnp.asarray(counts))
    expected = distance(jnp.asarray(x[counts]), jnp.asarray(y[counts]))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert float(distance(x, y, where=jnp.zeros(4, bool))) == 0


def test_channels_are_judged_each_by_itself_whatever_their_balance():
    """A channel that is louder than it was is as good; one that is noisy is not made up for."""
    reference = sound(2, SAMPLES, 2)
    noise = sound(2, SAMPLES, 2) * np.asarray([0.1, 0.5])
    estimate = (reference + noise) * np.asarray([1.0, 0.25])
    reference[1, :, 1] = 1e-4 * reference[1, :, 1] + 0.5  # no sound but an offset
    length = jnp.asarray([SAMPLES, 600])
    values, counts = jax.jit(signal.channel_si_sdr)(
        jnp.asarray(estimate, jnp.float32), jnp.asarray(reference), length
    )
    np.testing.assert_allclose(values[:3], [20, 6, 20], atol=0.5)
    assert counts.tolist() == [True, True, True, False]
