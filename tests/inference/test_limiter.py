import numpy as np
import pytest

from aejax.inference import limiter

BLOCK = 8
RNG = np.random.default_rng(0)


def through(audio, ceilings, pieces):
    """In stretches of so many blocks."""
    ends = np.cumsum(pieces) * BLOCK
    stretches = np.split(audio, ends[:-1], axis=1)
    return np.concatenate(list(limiter.limit(stretches, ceilings, BLOCK)), axis=1)


@pytest.mark.parametrize("channels", [(), (2,)])
def test_no_block_is_louder_than_its_ceiling_and_soft_ones_are_as_they_were(channels):
    audio = RNG.standard_normal((3, 12 * BLOCK, *channels)).astype(np.float32)
    peaks = limiter.block_peaks(audio, BLOCK)
    ceilings = 2 * peaks
    ceilings[:, 5] = 0.3 * peaks[:, 5]
    ceilings[1, 9] = 0
    out = through(audio, ceilings, [12])
    assert (limiter.block_peaks(out, BLOCK) <= ceilings + 1e-6).all()
    assert (out[1, 9 * BLOCK : 10 * BLOCK] == 0).all()
    untouched = [0, 1, 2, 3, 7, 11]
    rows = audio.reshape(3, 12, BLOCK, -1), out.reshape(3, 12, BLOCK, -1)
    np.testing.assert_array_equal(rows[0][:, untouched], rows[1][:, untouched])


def test_the_gain_has_no_steps():
    audio = np.ones((1, 12 * BLOCK), np.float32)
    ceilings = RNG.uniform(0.2, 2, (1, 12))
    out = through(audio, ceilings, [12])
    assert np.abs(np.diff(out)).max() <= 1 / BLOCK


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 7], [11, 1], [1, 11]])
def test_stretch_by_stretch_as_at_once(pieces):
    audio = RNG.standard_normal((2, 12 * BLOCK)).astype(np.float32)
    ceilings = RNG.uniform(0.2, 2, (2, 12))
    whole = through(audio, ceilings, [12])
    np.testing.assert_allclose(through(audio, ceilings, pieces), whole, atol=1e-7)


def test_silence_is_no_division_by_zero():
    silence = np.zeros((1, 4 * BLOCK), np.float32)
    np.testing.assert_array_equal(through(silence, np.zeros((1, 4)), [4]), silence)


def test_peaks_are_noted_while_a_sound_is_read():
    audio = RNG.standard_normal((2, 10 * BLOCK)).astype(np.float32)
    meter = limiter.PeakMeter(lambda start, count: audio[:, start : start + count], BLOCK)
    # In windows that overlap and end within a block.
    for start, count in ((0, 3 * BLOCK + 3), (2 * BLOCK, 4 * BLOCK), (5 * BLOCK, 5 * BLOCK)):
        np.testing.assert_array_equal(meter.read(start, count), audio[:, start : start + count])
    peaks = limiter.block_peaks(audio, BLOCK)
    np.testing.assert_allclose(meter.ceilings(10, 0), peaks * 10 ** (2 / 20))
    spread = meter.ceilings(10, 1)
    np.testing.assert_allclose(spread[:, 0], peaks[:, :2].max(1) * 10 ** (2 / 20))
    np.testing.assert_allclose(spread[:, 4], peaks[:, 3:6].max(1) * 10 ** (2 / 20))
