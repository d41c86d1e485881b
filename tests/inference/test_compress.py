"""Sound to small files and back."""

import dataclasses
import os
import re
import struct
import sys

import google_crc32c
import numpy as np
import pytest
import soundfile
from conftest import most_slow
from trained_runs import small_model, write_run

import aejax
from aejax.cli import main
from aejax.data.audio_file import UnusableAudio
from aejax.data.streams import Sound
from aejax.evaluation import entropy_coding
from aejax.inference import compress, container, limiter
from aejax.inference.model import Encoded
from aejax.runtime.errors import UserError

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("same_process")


def run_of(path, bottleneck="none", **changes):
    changes = {"model.bottleneck": bottleneck} | changes
    if bottleneck == "rvq":
        changes |= {"model.rvq.codebook_size": 16, "model.rvq.num_quantizers": 3}
    model = small_model(**changes)
    write_run(path, model)
    latents = model.encode(0.1 * RNG.standard_normal(100_000).astype(np.float32))
    if bottleneck == "fsq":
        bound, levels = (
            model.model.bottleneck.bound,
            model.model.bottleneck.codebook_sizes,
        )
        known = entropy_coding.fit([latents + bound], 2 * bound / (np.asarray(levels) - 1))
    else:
        known = entropy_coding.fit([latents], np.ones(4))
    entropy_coding.save(path / entropy_coding.FILE, model=known)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("runs") / "run")


def noise(path, samples=30_000, rate=16_000, channels=1):
    soundfile.write(path, 0.1 * RNG.standard_normal((samples, channels)), rate)
    return path


@pytest.mark.parametrize("bottleneck", ["none", "fsq", "rvq"])
def test_there_and_back(tmp_path, capsys, monkeypatch, bottleneck):
    # The file knows the peak of all, `reconstruct` that of each stretch.
    monkeypatch.setattr(limiter, "_HEADROOM", 1e9)
    run = run_of(tmp_path / "run", bottleneck)
    source, small, back = (tmp_path / name for name in ("in.wav", "in.aej", "back.wav"))
    noise(source, 30_011, 22_050, 2)
    assert main(["compress", str(run), str(source), str(small)]) == 0
    size = small.stat().st_size
    assert f"{size:,} bytes" in capsys.readouterr().err
    assert size < source.stat().st_size / 20
    assert main(["decompress", str(run), str(small), str(back)]) == 0
    found, rate = soundfile.read(back, dtype="float32")
    assert (found.shape, rate) == ((30_011, 2), 22_050)
    audio, _ = soundfile.read(source, dtype="float32")
    # What was rounded anyway is as it would be without a file between.
    if bottleneck != "none":
        expected = aejax.load(run).reconstruct(audio.T, rate).T
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_what_is_decompressed_is_hardly_louder_than_what_was_compressed(run, tmp_path):
    source, small, back = (tmp_path / name for name in ("in.wav", "in.aej", "back.wav"))
    for level in (0.5, 0.005):
        soundfile.write(source, level * np.sign(np.sin(np.arange(9000) * 0.1)), 16_000)
        assert main(["compress", str(run), str(source), str(small), "--force"]) == 0
        assert main(["decompress", str(run), str(small), str(back), "--force"]) == 0
        peak = np.abs(soundfile.read(back)[0]).max()
        assert 0.2 * level < peak < 1.5 * level


def test_each_channel_has_a_ceiling_of_its_own(run, tmp_path):
    source, small, back = (tmp_path / name for name in ("in.wav", "in.aej", "back.wav"))
    loud = np.sign(np.sin(np.arange(9000) * 0.1))[:, None] * (0.5, 0.0005)
    soundfile.write(source, loud, 44_100, subtype="FLOAT")
    assert main(["compress", str(run), str(source), str(small)]) == 0
    assert main(["decompress", str(run), str(small), str(back)]) == 0
    peaks = np.abs(soundfile.read(back)[0]).max(axis=0)
    assert (peaks < 1.5 * np.abs(loud).max(axis=0) + 2**-15).all()


def kbps_of(path):
    """Of the latents in a file."""
    small = container.read(path)
    return len(small.payload) * 8e-3 / (small.samples / small.sample_rate)


def test_finer_steps_come_nearer(run, tmp_path, monkeypatch):
    monkeypatch.setattr(limiter, "_HEADROOM", 1e9)  # see `test_there_and_back`
    source = noise(tmp_path / "in.wav")
    model = aejax.load(run)
    codec = compress.load(model, run)
    whole = model.reconstruct(soundfile.read(source, dtype="float32")[0])
    errors = []
    for kbps in (0.1, 0.2, 0.3):
        small, back = tmp_path / f"{kbps}.aej", tmp_path / f"{kbps}.wav"
        compress.compress(codec, source, small, kbps)
        assert 0.75 * kbps < kbps_of(small) <= kbps
        compress.decompress(codec, small, back)
        found = soundfile.read(back, dtype="float32")[0]
        errors.append(np.square(found - whole).mean())
    assert errors[0] > errors[1] > errors[2]


LOUD, QUIET = 0.3, 1e-4
PARTS = {
    "silence, then sound": (0.0, LOUD),
    "sound, then silence": (LOUD, 0.0),
    "quiet, then loud": (QUIET, LOUD),
    "loud, then quiet": (LOUD, QUIET),
    "short": (LOUD,),
}


@pytest.mark.parametrize("bottleneck", ["none", "rvq"])
@pytest.mark.parametrize("parts", most_slow(PARTS, "quiet, then loud", "short"))
def test_the_rate_is_kept_over_the_whole_sound(tmp_path, monkeypatch, bottleneck, parts):
    run = run_of(tmp_path / "run", bottleneck)
    codec = compress.load(aejax.load(run), run)
    levels = PARTS[parts]
    each = 20_000 if len(levels) > 1 else 700
    sound = np.concatenate([level * RNG.standard_normal(each) for level in levels])
    source, small = tmp_path / "in.wav", tmp_path / "in.aej"
    soundfile.write(source, sound, 16_000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"the lowest for this sound is [0-9.]+$") as raised:
        compress.compress(codec, source, small, 1e-3)
    lowest = float(str(raised.value).rpartition(" ")[2])
    for kbps in (lowest, 1.5 * lowest, 3 * lowest):
        compress.compress(codec, source, small, kbps)
        assert (
            len(container.read(small).payload) * 8e-3
            <= kbps * max(len(sound), codec.model.block) / 16_000
        )
    said = compress.compress(codec, source, small, 1e3)
    unused = re.search(r"cannot use 1000 kbit/s, the highest for this sound is ([0-9.]+)$", said)
    finest = container.read(small)
    assert "cannot use" not in compress.compress(codec, source, small, float(unused[1]))
    assert container.read(small) == finest
    assert "cannot use" not in compress.compress(codec, source, small, None)


@pytest.mark.slow
@pytest.mark.parametrize("is_loud_last", [True, False])
def test_the_rate_is_kept_over_a_long_sound(run, tmp_path, monkeypatch, is_loud_last):
    """Of made-up latents, which are loud after, or before, what is mostly soft."""
    codec, frames, kbps = compress.load(aejax.load(run), run), 6000, 0.05
    latents = codec.statistics.spread * RNG.laplace(size=(1, frames, 4))
    soft = slice(0, 5000) if is_loud_last else slice(1000, frames)
    latents[:, soft] *= 1e-3
    sound = Sound(frames * codec.model.block, 16_000, 1, ("WAV", "PCM_16"))
    monkeypatch.setattr(compress.reconstruct, "output_sound", lambda *_: sound)
    encoded = Encoded(latents.astype(np.float32), np.ones((1, frames), np.float32))
    monkeypatch.setattr(compress.reconstruct, "encode", lambda *_, **__: encoded)
    compress.compress(codec, tmp_path / "in.wav", tmp_path / "in.aej", kbps)
    assert 0.8 * kbps < kbps_of(tmp_path / "in.aej") <= kbps


def test_rates_that_are_none_are_refused(run, tmp_path):
    codec, source = compress.load(aejax.load(run), run), noise(tmp_path / "in.wav")
    for kbps in (0, -1.0, float("nan"), True):
        with pytest.raises(ValueError, match="kbps must be"):
            compress.compress(codec, source, tmp_path / "out.aej", kbps)


@pytest.mark.parametrize("bottleneck", ["none", "fsq", "rvq"])
def test_silence_comes_back_as_silence(tmp_path, bottleneck):
    run = run_of(tmp_path / "run", bottleneck)
    codec = compress.load(aejax.load(run), run)
    source, small, back = (tmp_path / name for name in ("in.wav", "in.aej", "back.wav"))
    sound = np.zeros((40_000, 2))
    sound[:5000, 0] = sound[35_000:, 0] = 0.1 * RNG.standard_normal(5000)
    soundfile.write(source, sound, 16_000, subtype="FLOAT")
    compress.compress(codec, source, small, None)
    assert container.read(small).has_silence
    compress.decompress(codec, small, back)
    found, _ = soundfile.read(back)
    assert not found[:, 1].any()
    assert not found[15_000:25_000, 0].any()
    assert found[:5000, 0].any()
    assert found[35_000:, 0].any()


def test_fewer_codebooks_at_lower_rates(tmp_path):
    run = run_of(tmp_path / "run", "rvq")
    codec = compress.load(aejax.load(run), run)
    source, used = noise(tmp_path / "in.wav", 100_000), []
    for kbps in (None, 0.075, 0.05):
        compress.compress(codec, source, tmp_path / "out.aej", kbps)
        used.append(container.read(tmp_path / "out.aej").codebooks)
        compress.decompress(codec, tmp_path / "out.aej", tmp_path / "out.wav")
    assert used[0] == 3
    assert used[0] > used[1] >= used[2] >= 1


def test_the_same_bytes_are_the_same_sound(run, tmp_path):
    codec = compress.load(aejax.load(run), run)
    compress.compress(codec, noise(tmp_path / "in.wav"), tmp_path / "in.aej", None)
    for name in ("a.wav", "b.wav"):
        compress.decompress(codec, tmp_path / "in.aej", tmp_path / name)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_another_model_refuses_and_says_which_it_needs(run, tmp_path, capsys):
    other = run_of(tmp_path / "other", name="other", seed=1)
    small = tmp_path / "in.aej"
    assert main(["compress", str(run), str(noise(tmp_path / "in.wav")), str(small)]) == 0
    capsys.readouterr()
    assert main(["decompress", str(other), str(small), str(tmp_path / "out.wav")]) == 1
    said = capsys.readouterr().err
    assert "needs the run 'experiment'" in said
    assert "not 'other'" in said
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize(
    ("bottleneck", "kbps", "why"),
    [
        ("none", 1e-4, "needs more than"),
        ("fsq", 1, "leave out --kbps"),
        ("rvq", 1e-3, "the lowest for this sound is"),
    ],
)
def test_rates_that_there_are_not(tmp_path, capsys, bottleneck, kbps, why):
    run, source = run_of(tmp_path / "run", bottleneck), noise(tmp_path / "in.wav")
    arguments = ["compress", str(run), str(source), str(tmp_path / "out.aej"), f"--kbps={kbps}"]
    assert main(arguments) == 1
    assert why in capsys.readouterr().err
    assert main([*arguments[:-1], "--kbps=-1"]) == 1
    assert "must be above 0" in capsys.readouterr().err


def test_a_folder_there_and_back(run, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in ("a.wav", "a.flac"):
        noise(tmp_path / "in" / name, 5000)
    assert main(["compress", str(run), str(tmp_path / "in"), str(tmp_path / "small")]) == 0
    small = sorted(path.name for path in (tmp_path / "small").iterdir())
    assert small == ["a.flac.aej", "a.wav.aej"]
    (tmp_path / "small" / "notes.txt").write_text("no sound, and nothing is said of it")
    assert main(["decompress", str(run), str(tmp_path / "small"), str(tmp_path / "back")]) == 0
    (tmp_path / "small" / "broken.wav.aej").write_bytes(b"no magic")
    arguments = ["decompress", str(run), str(tmp_path / "small"), str(tmp_path / "again")]
    assert main(arguments) == 1
    assert "broken.wav.aej: not a file of aejax compress" in capsys.readouterr().err
    assert [soundfile.info(tmp_path / "back" / f"a.{kind}").format for kind in ("wav", "flac")] == [
        "WAV",
        "FLAC",
    ]


# Files that are none.


@pytest.fixture(scope="module")
def small(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    codec = compress.load(aejax.load(run), run)
    compress.compress(codec, noise(folder / "in.wav", 9000), folder / "in.aej", None)
    return codec, (folder / "in.aej").read_bytes()


def test_a_container_is_what_was_packed(small):
    found = container.unpack(small[1])
    assert found.pack() == small[1]
    assert (found.name, found.samples, found.channels) == ("experiment", 9000, 1)


def crc32c(data):
    """Bit by bit: the polynomial of RFC 3720, appendix B.4, turned round."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_the_checksum_is_crc_32c(small):
    assert crc32c(b"123456789") == 0xE3069283
    assert struct.unpack("<I", small[1][-4:]) == (crc32c(small[1][:-4]),)


@pytest.mark.parametrize("package", ["constriction", "google_crc32c"])
def test_what_is_missing_is_named(run, tmp_path, package, monkeypatch, capsys):
    source = noise(tmp_path / "in.wav", 9000)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["compress", str(run), str(source), str(tmp_path / "out.aej")]) == 1
    said = capsys.readouterr().err
    assert f"needs {package.replace('_', '-')}: pip install 'aejax[compress]'" in said
    assert not (tmp_path / "out.aej").exists()


def sealed(data):
    """With the checksum that it should have."""
    return data[:-4] + struct.pack("<I", google_crc32c.value(data[:-4]))


def changed(data, **fields):
    return dataclasses.replace(container.unpack(data), **fields).pack()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda data: b"", "not a file of aejax compress"),
        (lambda data: b"RIFF" + data[4:], "not a file of aejax compress"),
        (lambda data: data[:20], "its header is not complete"),
        (lambda data: data[:-1], "truncated"),
        (lambda data: data + b"\0", "too long"),
        (lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:], "checksum"),
        (lambda data: sealed(data[:4] + b"\x09" + data[5:]), "version 9"),
        (lambda data: changed(data, channels=0, ceilings=np.ones(0)), "0 channels"),
        (lambda data: changed(data, sample_rate=3), "3 Hz"),
        (lambda data: changed(data, samples=0), "no samples"),
        (lambda data: changed(data, samples=2**63), "shorter than its header declares"),
        (lambda data: changed(data, channels=1024, ceilings=np.ones(1024)), "damaged"),
        (lambda data: changed(data, channels=2), "truncated"),
        (lambda data: changed(data, scale=float("nan")), "steps of nan"),
        (lambda data: changed(data, scale=-1.0), "steps of -1"),
        (lambda data: changed(data, scale=1e-308), "steps of 1e-308"),
        (lambda data: changed(data, scale=1e308), "steps of 1e\\+308"),
        (lambda data: changed(data, scale=1000.0), "steps of 1000"),
        (lambda data: changed(data, has_silence=True), "damaged|does not decode"),
        (lambda data: changed(data, codebooks=3), "3 codebooks"),
        (lambda data: changed(data, ceilings=np.float32([np.nan])), "impossible peak limits"),
        (lambda data: changed(data, ceilings=np.float32([-1])), "impossible peak limits"),
        (lambda data: changed(data, payload=b""), "does not decode|check byte is wrong"),
        (lambda data: changed(data, scale=0.2), "does not decode|check byte is wrong"),
    ],
)
def test_damaged_files_are_refused(small, tmp_path, damage, why):
    codec, data = small
    (tmp_path / "in.aej").write_bytes(damage(data))
    with pytest.raises(UnusableAudio, match=why):
        compress.decompress(codec, tmp_path / "in.aej", tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


def mutations(data, count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        damaged = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            kind, place = rng.integers(3), int(rng.integers(len(damaged)))
            if kind == 0:
                damaged[place] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                damaged[place] = int(rng.integers(256))
            else:
                del damaged[place : place + int(rng.integers(1, 9))]
        if bytes(damaged) != data:
            yield bytes(damaged)


def test_mutations_are_noticed_by_the_container(small):
    noticed = 0
    for damaged in mutations(small[1], 100_000):
        with pytest.raises(UnusableAudio):
            container.unpack(damaged)
        noticed += 1
    assert noticed > 99_000


def test_mutations_behind_a_right_checksum_end_in_a_sound_or_an_error(small, tmp_path):
    codec, data = small
    path, target = tmp_path / "in.aej", tmp_path / "out.wav"
    ends = {"sound": 0, "refused": 0}
    for damaged in mutations(data, 150):
        path.write_bytes(sealed(damaged) if len(damaged) > 8 else damaged)
        try:
            compress.decompress(codec, path, target)
            ends["sound"] += 1
        except (UnusableAudio, UserError):
            ends["refused"] += 1
    assert ends["refused"] > 100


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.aej")
    with pytest.raises(UnusableAudio, match="not a regular file"):
        container.read(tmp_path / "a.aej")
