"""Audio files block by block."""

import numpy as np
import pytest
import soundfile
import soxr

from aejax.data import streams
from aejax.data.streams import Sound
from aejax.errors import UserError

RNG = np.random.default_rng(0)
WAV = ("WAV", "FLOAT")


@pytest.mark.parametrize("rate", [16_000, 44_100, 8000])
@pytest.mark.parametrize("channels", [1, 3])
def test_stretches_are_those_of_the_whole(tmp_path, rate, channels):
    audio = RNG.standard_normal((50_021, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", audio, 44_100, subtype="FLOAT")
    whole = soxr.resample(audio, 44_100, rate, "HQ").reshape(-1, channels).T
    with streams.reading(tmp_path / "a.wav", rate) as file:
        for start, count in ((0, 1), (0, 5000), (1234, 7000), (1234, 10), (9000, 60_000)):
            expected = whole[:, start : start + count]
            found = file.read(start, count)
            np.testing.assert_allclose(found[:, : expected.shape[1]], expected, atol=1e-5)
            assert not found[:, expected.shape[1] :].any()
            assert found.shape == (channels, count)
        assert not file.read(70_000, 5).any()
        with pytest.raises(ValueError, match="sample 5 is not there any more"):
            file.read(5, 1)


def test_as_long_as_it_is_to_be(tmp_path):
    path, blocks = tmp_path / "a.wav", [np.full((3, 2), 0.5, np.float32)] * 3
    for samples in (1, 3, 7, 9, 70_000):
        assert streams.write(path, iter(blocks), Sound(samples, 8000, 2, WAV)) == 0
        found, rate = soundfile.read(path)
        assert (len(found), rate) == (samples, 8000)
        assert (found[:9] == 0.5).all()
        assert not found[9:].any()


def test_what_is_too_loud_is_cut_and_counted_where_it_has_to_be(tmp_path):
    path, loud = tmp_path / "a.wav", np.asarray([[0.5], [-1.5], [2.0]], np.float32)
    assert streams.write(path, [loud], Sound(3, 8000, 1, ("WAV", "PCM_16"))) == 2
    np.testing.assert_allclose(soundfile.read(path)[0], [0.5, -1, 1], atol=1e-4)
    assert streams.write(path, [loud], Sound(3, 8000, 1, WAV)) == 0
    np.testing.assert_array_equal(soundfile.read(path)[0], loud[:, 0])


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.wav"
    path.write_text("before")

    def breaks():
        yield np.zeros((3, 1), np.float32)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        streams.write(path, breaks(), Sound(9, 8000, 1, WAV))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_a_comment_can_be_read(tmp_path):
    for suffix in (".wav", ".flac", ".ogg"):
        path = tmp_path / f"a{suffix}"
        sound = Sound(100, 16_000, 1, streams.format_of(path.name))
        streams.write(path, [np.zeros((100, 1), np.float32)], sound, comment="made by a machine")
        with soundfile.SoundFile(path) as file:
            assert file.comment == "made by a machine"


@pytest.mark.parametrize(
    ("name", "like", "expected"),
    [
        ("a.WAV", "", ("WAV", "PCM_16")),
        ("a.wav", "WAV PCM_24", ("WAV", "PCM_24")),
        ("a.flac", "WAV PCM_24", ("FLAC", "PCM_16")),
        ("a.opus", "OGG VORBIS", ("OGG", "OPUS")),
        ("a.ogg", "OGG OPUS", ("OGG", "OPUS")),
    ],
)
def test_formats(name, like, expected):
    assert streams.format_of(name, like) == expected


def test_unknown_formats_are_refused():
    with pytest.raises(UserError, match=r"cannot write .m4a; .aif, .aiff"):
        streams.format_of("a.m4a")
    with pytest.raises(UserError, match="a file without a suffix"):
        streams.format_of("a")
