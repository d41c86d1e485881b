import struct

import numpy as np
import pytest
import soundfile
import soxr

from aejax.data import audio_file

RNG = np.random.default_rng(0)
FORMATS = {
    "wav": {},
    "flac": {},
    "ogg": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {},
    "aiff": {},
    "w64": {},
    "caf": {},
    "au": {},
}


def noise(seconds=2.0, rate=48000, channels=1):
    return 0.1 * RNG.standard_normal((int(seconds * rate), channels)).astype(np.float32)


@pytest.fixture(params=FORMATS)
def file(request, tmp_path):
    path = tmp_path / f"sound.{request.param}"
    soundfile.write(path, noise(), 48000, **FORMATS[request.param])
    return path


def test_every_format_is_examined_and_read(file):
    found = audio_file.examine(file)
    assert (found.sample_rate, found.channels) == (48000, 1)
    assert found.frames == pytest.approx(96000, abs=1200)
    excerpt = audio_file.read_excerpt(file, 8000, 4000, sample_rate=16000, channels="mono")
    assert excerpt.shape == (4000,)
    assert excerpt.dtype == np.float32
    assert 0.02 < excerpt.std() < 0.2


def test_truncated_files_are_found_out(file):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(0.6 * len(whole))])
    with pytest.raises(audio_file.UnusableAudio, match="truncated|unreadable"):
        audio_file.examine(file)


def test_empty_broken_and_non_finite_files_say_what_they_are(tmp_path):
    cases = {"empty.wav": "empty", "text.wav": "unreadable", "nan.wav": "non-finite"}
    cases |= {"header.wav": "no audio", "gone.wav": "unreadable"}
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("not audio at all, but long enough to be looked at")
    bad = noise()
    bad[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", bad, 48000, subtype="FLOAT")
    soundfile.write(tmp_path / "header.wav", np.zeros((0, 1)), 48000)
    for name, reason in cases.items():
        with pytest.raises(audio_file.UnusableAudio, match=reason):
            audio_file.examine(tmp_path / name)


def test_what_is_no_sound_is_refused(tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.asarray([0.0, 1e25]), 48000, subtype="FLOAT")
    with pytest.raises(audio_file.UnusableAudio, match="samples up to 1e"):
        audio_file.examine(tmp_path / "loud.wav")
    soundfile.write(tmp_path / "slow.wav", np.zeros(10), 1)
    with pytest.raises(audio_file.UnusableAudio, match="a sample rate of 1 Hz"):
        audio_file.examine(tmp_path / "slow.wav")


def test_a_name_need_not_be_utf8(tmp_path):
    path = tmp_path / "caf\udce9.wav"
    soundfile.write(tmp_path / "plain.wav", noise(0.1), 48000)
    (tmp_path / "plain.wav").rename(path)
    assert audio_file.examine(path).frames == 4800
    assert len(audio_file.read_excerpt(path, 0, 9, sample_rate=16000, channels="mono")) == 9


def test_a_streamed_wav_is_not_truncated(tmp_path):
    path = tmp_path / "stream.wav"
    soundfile.write(path, noise(0.1), 48000)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert audio_file.examine(path).frames == 4800


@pytest.mark.parametrize("rate", [16000, 8000, 44100, 96000, 11025])
@pytest.mark.parametrize("speed", [1.0, 0.9])
def test_a_resampled_excerpt_equals_the_resampled_file_cut(tmp_path, rate, speed):
    path = tmp_path / "sound.wav"
    audio = noise(3.0, rate)[:, 0]
    soundfile.write(path, audio, rate, subtype="FLOAT")
    whole = soxr.resample(audio, round(rate * speed), 16000, "HQ")
    for start, length in [(0, 1000), (12345, 7000), (20001, 1), (len(whole) - 500, 900)]:
        excerpt = audio_file.read_excerpt(
            path, start, length, sample_rate=16000, channels="mono", speed=speed
        )
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
    stereo = np.stack([np.ones(4), 3 * np.ones(4)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(audio_file.mix(stereo, "mono"), 2 * np.ones(4))
    np.testing.assert_array_equal(audio_file.mix(stereo, "first"), np.ones(4))


def test_write_leaves_nothing_beside(tmp_path):
    audio_file.write(tmp_path / "out.wav", np.asarray([0.5, -2.0], np.float32), 8000)
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]
    audio, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == 8000
    np.testing.assert_allclose(audio, [0.5, -1.0], atol=1e-4)
