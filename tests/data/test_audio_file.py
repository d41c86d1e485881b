import math
import os

import numpy as np
import pytest
import soundfile
import soxr

from aejax.data import audio_file

RNG = np.random.default_rng(0)


def noise(seconds=2.0, rate=48000, channels=1):
    return 0.1 * RNG.standard_normal((int(seconds * rate), channels)).astype(np.float32)


@pytest.mark.parametrize("name", ["caf\udce9.wav", "new\nline 'quoted'.wav", "no suffix", "a.jpg"])
def test_a_file_may_be_called_anything(tmp_path, name):
    soundfile.write(tmp_path / "plain.wav", noise(0.1), 48000)
    (tmp_path / "plain.wav").rename(tmp_path / name)
    excerpt = audio_file.read_excerpt(tmp_path / name, 0, 9, sample_rate=16000, channels="mono")
    assert len(excerpt) == 9


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "circle.wav").symlink_to(tmp_path / "circle.wav")
    (tmp_path / "text.wav").write_text("not audio at all, but long enough to be looked at")
    cases = {
        "pipe.wav": "not a regular",
        "folder.wav": "not a regular",
        "circle.wav": "symbolic links",
    }
    cases |= {"gone.wav": "No such file", "text.wav": "unreadable"}
    for name, reason in cases.items():
        with (
            pytest.raises(audio_file.UnusableAudio, match=reason),
            audio_file.opened(tmp_path / name),
        ):
            pass


@pytest.mark.parametrize("rate", [16000, 8000, 44100, 96000, 11025])
def test_a_resampled_excerpt_equals_the_resampled_file_cut(tmp_path, rate):
    path = tmp_path / "sound.wav"
    audio = noise(3.0, rate)[:, 0]
    soundfile.write(path, audio, rate, subtype="FLOAT")
    whole = soxr.resample(audio, rate, 16000, "HQ")
    # Where the reading begins and ends on a block of the two rates, and beside it.
    block = 16000 // math.gcd(rate, 16000)
    edges = [(k * block + d, 3 * block + e) for k in (1, 7) for d in (-1, 0, 1) for e in (-1, 0, 1)]
    margins = [(256 + d, 512) for d in (-1, 0, 1)]
    places = [(0, 1000), (12345, 7000), (20001, 1), (len(whole) - 500, 900), *edges, *margins]
    for start, length in places:
        excerpt = audio_file.read_excerpt(path, start, length, sample_rate=16000, channels="mono")
        expected = np.zeros(length, np.float32)
        piece = whole[start : start + length]
        expected[: len(piece)] = piece
        np.testing.assert_allclose(excerpt, expected, atol=2e-5)


def test_only_the_excerpt_is_read():
    asked = []

    def read(first, count):
        asked.append(count)
        return np.zeros(count, np.float32)

    audio_file.resampled_excerpt(read, 10**9, 44100, 5 * 10**7, 16000, 16000)
    assert sum(asked) < 60_000


def test_channel_policies():
    many = np.arange(12, dtype=np.float32).reshape(4, 3)
    one = many[:, :1]
    np.testing.assert_allclose(audio_file.mix(many, "mono"), many.mean(1))
    np.testing.assert_array_equal(audio_file.mix(one, "mono"), one[:, 0])
    np.testing.assert_array_equal(audio_file.mix(many, "first"), many[:, 0])
    np.testing.assert_array_equal(audio_file.mix(many, "stereo"), many[:, :2])
    np.testing.assert_array_equal(audio_file.mix(one, "stereo"), one.repeat(2, axis=1))
    np.testing.assert_array_equal(audio_file.mix(many, "each", 2), many[:, 2])


def test_sixteen_channels_are_resampled_alike(tmp_path):
    audio = noise(1.0, 44100, 16)
    soundfile.write(tmp_path / "a.wav", audio, 44100, subtype="FLOAT")
    whole = soxr.resample(audio.mean(1), 44100, 16000, "HQ")
    excerpt = audio_file.read_excerpt(
        tmp_path / "a.wav", 5000, 3000, sample_rate=16000, channels="mono"
    )
    np.testing.assert_allclose(excerpt, whole[5000:8000], atol=2e-5)


def test_codecs_that_cannot_seek_are_read_from_the_beginning(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(1.0, 8000)[:, 0], 8000, subtype="GSM610")
    whole = audio_file.read_excerpt(path, 0, 8000, sample_rate=8000, channels="mono")
    part = audio_file.read_excerpt(path, 4321, 500, sample_rate=8000, channels="mono")
    np.testing.assert_array_equal(part, whole[4321:4821])


def test_write_leaves_nothing_beside(tmp_path):
    audio_file.write(tmp_path / "out.wav", np.asarray([0.5, -2.0], np.float32), 8000)
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]
    audio, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == 8000
    np.testing.assert_allclose(audio, [0.5, -1.0], atol=1e-4)
