"""Audio files block by block."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr

from aejax.data import streams
from aejax.data.streams import Sound
from aejax.runtime.errors import UserError

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
        with pytest.raises(ValueError, match="sample 5 is no longer buffered"):
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
        *(
            (f"a.{ours.lower()}", f"{theirs} {encoding}", (ours, encoding))
            for ours in ("WAV", "W64")
            for theirs in ("WAV", "WAVEX", "RF64", "W64")
            for encoding in ("PCM_24", "FLOAT", "PCM_U8")
        ),
        ("a.wav", "AIFF PCM_24", ("WAV", "PCM_16")),
        ("a.wav", "WAV MPEG_LAYER_III", ("WAV", "PCM_16")),
        ("a.mp3", "MP3 MPEG_LAYER_II", ("MP3", "MPEG_LAYER_III")),
    ],
)
def test_formats(name, like, expected):
    assert streams.format_of(name, like) == expected


def test_unknown_formats_are_refused():
    with pytest.raises(UserError, match=r"cannot write .m4a, only .aif, .aiff"):
        streams.format_of("a.m4a")
    with pytest.raises(UserError, match="a file without a suffix"):
        streams.format_of("a")


# What may crash runs in a process of its own; its last line says where.
ODD = """
import sys, pathlib, numpy as np, soundfile
from aejax.data import streams
from aejax.runtime.errors import UserError

def problem(path, rate, channels):
    sound = streams.Sound(100, rate, channels, streams.format_of(path.name))
    try:
        streams.write(path, [np.zeros((100, channels), np.float32)], sound)
    except UserError as error:
        said = str(error)
        return "" if said.startswith(path.name) and not path.exists() else said
    back = soundfile.info(path)
    path.unlink()
    return "" if (back.samplerate, back.channels) == (rate, channels) else str(back)

folder = pathlib.Path(sys.argv[1])
for suffix in streams.FORMATS:
    rates = (0, 1, 999, 192_000, 199_999, 250_000, 10**6, 2**31 - 1, 2**31)
    kinds = [(rate, 1) for rate in rates] + [(200_000, 255)]
    for rate, channels in kinds + [(16_000, n) for n in (0, 2, 8, 255, 256, 1024, 1025)]:
        print(suffix, rate, channels, flush=True)
        if said := problem(folder / f"a{suffix}", rate, channels):
            sys.exit(said)
"""
LARGE = """
import sys, pathlib, numpy as np
from aejax.data import streams
noise = np.random.default_rng(0).uniform(-0.3, 0.3, (722_500, 1)).astype(np.float32)
sound = streams.Sound(len(noise), 44_100, 1, ("OGG", "VORBIS"))
streams.write(pathlib.Path(sys.argv[1], "a.ogg"), [noise], sound)
"""


def runs(script, folder):
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stdout[-40:], done.stderr)


def test_no_sound_is_too_odd_to_be_written_or_refused(tmp_path):
    """Every format takes it, so that it can be read back, or says in one line what it takes."""
    runs(ODD, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_large_block_of_vorbis_is_no_crash(tmp_path):
    """libvorbis puts all that it is given on the stack."""
    runs(LARGE, tmp_path)
    assert soundfile.info(tmp_path / "a.ogg").frames == 722_500


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".au", ".w64", ".caf", ".flac", ".ogg"])
def test_what_needs_more_than_4_gib_is_said_before_the_work(suffix):
    sound = Sound(2_200_000_000, 48_000, 1, streams.format_of(f"a{suffix}"))
    if suffix in (".aiff", ".au"):
        with pytest.raises(UserError, match=r"4\.1 GiB, and .* holds 4 at most; use \.flac"):
            streams.checked(f"a{suffix}", sound)
    else:
        container = streams.checked(f"a{suffix}", sound).container[0]
        assert container == ("RF64" if suffix == ".wav" else sound.container[0])
    with pytest.raises(UserError, match="FLAC holds"):
        streams.checked("a.flac", sound._replace(samples=2**36, container=("FLAC", "PCM_16")))


def test_a_large_wav_is_rf64_and_as_long_as_it_was_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_MOST_BYTES", 1000)
    path = tmp_path / "a.wav"
    for encoding in ("PCM_24", "FLOAT"):
        sound = Sound(5000, 8000, 2, ("WAV", encoding))
        streams.write(path, [], sound, comment="made by a machine")
        with soundfile.SoundFile(path) as file:
            kind = (file.format, file.subtype, file.frames, file.comment)
        assert kind == ("RF64", encoding, 5000, "made by a machine")
