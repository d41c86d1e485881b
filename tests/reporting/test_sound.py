"""Loudness, and budgets of bytes."""

import base64
import io
import zlib

import numpy as np
import pytest
import soundfile

from aejax.reporting import pictures, sound

RATE = 16_000
RNG = np.random.default_rng(0)


def tone(hz, level, seconds=1.0, rate=RATE):
    return level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize(("hz", "weight"), [(1000, 0.0), (100, -19.1), (4000, 1.0)])
def test_a_weighting_is_that_of_the_standard(hz, weight):
    plain = 10 * np.log10(0.1**2 / 2)
    assert sound.a_weighted_db(tone(hz, 0.1), RATE) == pytest.approx(plain + weight, abs=0.1)


def test_all_versions_come_out_equally_loud_and_below_full_scale():
    versions = [tone(1000, 0.01), tone(300, 0.5), 0.02 * RNG.standard_normal(RATE)]
    equal = sound.equally_loud(versions, RATE)
    levels = [sound.a_weighted_db(audio, RATE) for audio in equal]
    assert levels == pytest.approx([sound.TARGET_DB] * 3, abs=0.01)
    click = np.zeros(RATE)
    click[10] = 0.5
    equal = sound.equally_loud([*versions, click], RATE)
    levels = [sound.a_weighted_db(audio, RATE) for audio in equal]
    assert np.ptp(levels) < 0.01
    assert levels[0] < sound.TARGET_DB
    assert max(np.abs(audio).max() for audio in equal) <= 1


def test_silence_stays_silence():
    silent, loud = sound.equally_loud([np.zeros(100), tone(1000, 0.1)], RATE)
    assert not silent.any()
    assert sound.a_weighted_db(loud, RATE) == pytest.approx(sound.TARGET_DB, abs=0.01)
    assert sound.equally_loud([np.zeros((0,))], RATE)[0].shape == (0,)


@pytest.mark.parametrize("channels", [(), (2,)])
@pytest.mark.parametrize("rate", [11_025, 16_000, 44_100])
@pytest.mark.parametrize("kind", ["flac", "opus"])
def test_encoded_sound_is_the_sound(kind, rate, channels):
    audio = tone(440, 0.3, rate=rate).reshape(-1, *[1] * len(channels))
    audio = np.broadcast_to(audio, (rate, *channels))
    back, found = soundfile.read(io.BytesIO(sound.encode(audio, rate, kind)))
    assert back.shape[1:] == channels
    assert len(back) / found == pytest.approx(1.0, abs=0.03)
    level = sound.a_weighted_db(back, found)
    assert level == pytest.approx(sound.a_weighted_db(audio, rate), abs=0.5)


def test_a_budget_is_kept_by_opus_and_then_by_shorter_clips():
    sounds = [0.1 * RNG.standard_normal(2 * RATE) for _ in range(4)]
    rates = [RATE] * 4
    files, kind, seconds = sound.encode_all(sounds, rates, 1 << 20)
    assert (kind, seconds) == ("flac", None)
    files, kind, seconds = sound.encode_all(sounds, rates, 60_000)
    assert (kind, seconds) == ("opus", None)
    files, kind, seconds = sound.encode_all(sounds, rates, 10_000)
    assert kind == "opus"
    assert 0.1 < seconds < 2
    assert sum(map(len, files)) <= 10_000
    assert sound.encode_all([], [], 100) == ([], "flac", None)


def test_short_clips_are_not_cut_for_the_sake_of_long_ones():
    assert sound.cut_to([1.0, 10.0, 10.0], 11.0) == pytest.approx(5.0)
    assert sound.cut_to([1.0, 2.0], 10.0) == 2.0


def unpacked(picture):
    """As the page's script reads it."""
    data = zlib.decompress(base64.b64decode(picture["data"]), -15)
    return np.frombuffer(data, np.uint8).reshape(picture["frames"], picture["bins"])


def test_pictures_are_what_they_were_in_fewer_levels():
    picture = RNG.integers(0, 256, (50, 80)).astype(np.uint8)
    (packed,) = pictures.packed([picture], 1 << 20)
    assert (packed["frames"], packed["bins"]) == (50, 80)
    np.testing.assert_array_equal(unpacked(packed), picture // 4)


def test_pictures_lose_frames_until_they_fit():
    many = [RNG.integers(0, 256, (300, 80)).astype(np.uint8) for _ in range(5)]
    packed = pictures.packed(many, 40_000)
    assert sum(len(picture["data"]) for picture in packed) <= 40_000
    assert packed[0]["frames"] < 300
    whole = unpacked(packed[0])
    assert whole.shape == (packed[0]["frames"], 80)
