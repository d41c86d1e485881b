"""The tasks of a trained model from the command line: files, folders, pipes."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY
from trained_runs import model_of, small_model, write_run

import aejax
from aejax.cli import main
from aejax.inference import paths, reconstruct
from aejax.inference.interpolate import weights
from aejax.runtime import files
from aejax.runtime.errors import UserError

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("same_process")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run", small_model())


def noise(path, samples=8000, rate=16_000, channels=1, **given):
    soundfile.write(path, 0.1 * RNG.standard_normal((samples, channels)), rate, **given)
    return path


def said(capsys):
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "samples", "rate", "channels"),
    [
        ("mono.wav", 8000, 16_000, 1),
        ("one.wav", 1, 16_000, 1),
        ("stereo.flac", 10_007, 44_100, 2),
        ("many.wav", 3001, 8000, 5),
        ("low.ogg", 5000, 22_050, 2),
    ],
)
def test_what_comes_back_is_as_long_and_wide(run, tmp_path, name, samples, rate, channels):
    source = noise(tmp_path / name, samples, rate, channels)
    target = tmp_path / f"back_{name}"
    assert main(["reconstruct", str(run), str(source), str(target)]) == 0
    before, after = soundfile.info(source), soundfile.info(target)
    for fact in ("frames", "samplerate", "channels", "format", "subtype"):
        assert getattr(after, fact) == getattr(before, fact)


def test_a_file_is_as_its_array_and_each_channel_is_by_itself(run, tmp_path):
    source = noise(tmp_path / "in.wav", 30_000, 44_100, 2, subtype="FLOAT")
    assert main(["reconstruct", str(run), str(source), str(tmp_path / "out.wav")]) == 0
    audio, rate = soundfile.read(source, dtype="float32")
    back, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    expected = aejax.load(run).reconstruct(audio.T, rate).T
    np.testing.assert_allclose(back, expected, atol=1e-4 * np.abs(expected).max())


def test_a_folder_is_mirrored(run, tmp_path, capsys):
    root, out = tmp_path / "in", tmp_path / "out"
    (root / "a" / "b").mkdir(parents=True)
    noise(root / "a" / "b" / "1.flac")
    noise(root / "2.wav", 500, 8000, 2)
    (root / "notes.txt").write_text("no audio, and nothing is said of it: it may be there")
    (root / "broken.wav").write_bytes(b"RIFF????WAVEfmt no")
    assert main(["reconstruct", str(run), str(root), str(out), "--jobs=2"]) == 1
    caught = said(capsys)
    assert "broken.wav" in caught
    assert "1 of 3 files failed" in caught
    assert "notes" not in caught
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert found == ["2.wav", "a/b/1.flac"]
    assert main(["reconstruct", str(run), str(root), str(out)]) == 1
    assert "2.wav exists; --force" in said(capsys)


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("nowhere.wav", "out.wav", "does not exist"),
        ("in.wav", "in.wav", "is the input"),
        ("in.wav", "there.wav", "exists; --force"),
        ("in.wav", "folder", "is a folder"),
        ("in.wav", "no/out.wav", "is not an existing folder"),
        ("in.wav", "out.txt", "cannot write .txt, only .aif"),
        ("in.wav", "out.opus", "does not write OGG OPUS with 1 channels at 44100 Hz"),
        ("text.wav", "out.wav", "text.wav: unreadable"),
        ("folder", "in.wav", "the output must be a folder too"),
        ("folder", "folder", "is the input"),
        ("folder", "new", "the folder has no readable audio"),
    ],
)
def test_what_is_wrong_is_one_line(run, tmp_path, capsys, monkeypatch, source, target, why):
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "in.wav", rate=44_100)
    noise(tmp_path / "there.wav")
    (tmp_path / "text.wav").write_text("no audio at all, and long enough to be looked at")
    (tmp_path / "folder").mkdir()
    before = (tmp_path / "there.wav").read_bytes()
    assert main(["reconstruct", str(run), source, target]) == 1
    *_, last = said(capsys).splitlines()
    assert last.startswith("error: ")
    assert why in last
    assert (tmp_path / "there.wav").read_bytes() == before
    assert not list(tmp_path.rglob("*.part"))


def test_what_a_file_is_to_be_is_known_before_the_work(tmp_path):
    path, sound = tmp_path / "in", RNG.uniform(-0.5, 0.5, 1000)
    for kind in ("WAVEX", "RF64", "W64"):
        for encoding in ("PCM_24", "FLOAT"):
            soundfile.write(path, sound, 16_000, format=kind, subtype=encoding)
            assert reconstruct.output_sound(path, "out.wav").container == ("WAV", encoding)
    soundfile.write(path, sound, 250_000, format="WAV")
    with pytest.raises(UserError, match=r"out.ogg: .*Vorbis takes 255 channels and 200000 Hz"):
        reconstruct.output_sound(path, "out.ogg")


def test_linked_folders_are_followed_and_what_is_passed_over_is_named(run, tmp_path, capsys):
    root, out = tmp_path / "in", tmp_path / "in" / "out"
    (root / "a").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    noise(root / "a" / "1.wav")
    noise(root / ".hidden.wav")
    noise(tmp_path / "elsewhere" / "2.wav")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "circle").symlink_to(root)
    (root / "gone.wav").symlink_to(tmp_path / "gone")
    assert main(["reconstruct", str(run), str(root), str(out)]) == 1
    printed = said(capsys)
    assert "skipped: .hidden.wav: hidden" in printed
    assert "skipped: circle/: links to a folder that is already searched" in printed
    assert "gone.wav: cannot be opened: No such file" in printed
    assert printed.endswith("error: 1 of 3 files failed\n")
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*.wav"))
    assert found == ["a/1.wav", "linked/2.wav"]


class Panic(BaseException):
    """As an extension in Rust has it."""


def test_whatever_becomes_of_a_file_the_others_are_done(tmp_path, capsys):
    long, odd = "x" * 251 + ".wav", os.fsdecode(b"caf\xe9\n.wav")
    errors = {
        "panic.wav": Panic("attempt to add\nwith overflow"),
        "disk.wav": OSError(28, "No space left on device"),
        "memory.wav": MemoryError(),
        "user.wav": UserError("it has\ntwo lines"),
        odd: ValueError("no text: \udce9"),
    }
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    for name in (*errors, long, "good.wav"):
        (root / name).touch()

    def task(source, target):
        if source.name in errors:
            raise errors[source.name]
        files.write_text(target, "done")
        return "a word on it"

    found = paths.find(
        str(root), str(out), rename=lambda name: f"{name}.aej", piped="", force=False
    )
    with pytest.raises(UserError, match="6 of 7 files failed"):
        paths.run_task(found, task, jobs=2)
    assert [path.name for path in out.iterdir()] == ["good.wav.aej"]
    printed = said(capsys)
    assert printed.count("warning: ") == 6
    for line in (
        "good.wav: a word on it",
        "warning: panic.wav: Panic: attempt to add with overflow",
        "warning: disk.wav: No space left on device",
        "warning: memory.wav: MemoryError",
        "warning: user.wav: it has\\ntwo lines",
        "warning: caf\\udce9\\n.wav: ValueError: no text: \\udce9",
        f"warning: {long}: File name too long",
    ):
        assert f"{line}\n" in printed


def test_names_that_are_no_text_go_through_a_real_task(run, tmp_path, capsys):
    root = tmp_path / os.fsdecode(b"d\xe9")
    root.mkdir()
    for suffix in ("wav", "flac", "ogg"):
        noise(tmp_path / "x", format=suffix.upper()).rename(
            root / os.fsdecode(b"\xff." + suffix.encode())
        )
    out = tmp_path / os.fsdecode(b"out\xe9")
    assert main(["reconstruct", str(run), str(root), str(out)]) == 0
    assert len([path for path in out.iterdir() if soundfile.info(os.fsencode(path))]) == 3


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "/dev/null", "/dev/stdout"])
@pytest.mark.parametrize("force", [False, True])
def test_out_is_written_over_alone_and_only_where_it_is_a_file(tmp_path, kind, force):
    outside, out = tmp_path / "outside", tmp_path / "out.wav"
    if kind == "link":
        outside.write_text("mine")
    if kind in ("link", "dangling"):
        out.symlink_to(outside)
    elif kind == "fifo":
        os.mkfifo(out)
    else:
        out = Path(kind)
    free = force and kind in ("link", "dangling")
    with contextlib.nullcontext() if free else pytest.raises(UserError):
        paths.check_free([], out, force=force)
    if free:
        files.write_text(out, "new")
        assert not out.is_symlink()
        assert outside.exists() == (kind == "link")
        assert kind == "dangling" or outside.read_text() == "mine"


def test_a_source_is_not_written_over_through_a_link_in_its_folder(tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    (root / "a.wav").write_text("mine")
    (out / "a.wav").symlink_to(root / "a.wav")
    found = paths.find(str(root), str(out), rename=str, piped="", force=True)
    with pytest.raises(UserError):
        paths.run_task(found, lambda source, target: files.write_text(target, "x") or "", jobs=1)
    assert (root / "a.wav").read_text() == "mine"


def test_force_writes_over(run, tmp_path):
    source, target = noise(tmp_path / "in.wav"), noise(tmp_path / "out.wav", 5)
    assert main(["reconstruct", str(run), str(source), str(target), "--force"]) == 0
    assert soundfile.info(target).frames == 8000


def test_through_pipes_as_a_process(run, tmp_path):
    source = noise(tmp_path / "in.wav", 5000, 16_000, 2)
    found = subprocess.run(
        [sys.executable, "-m", "aejax.cli", "reconstruct", str(run), "-", "-"],
        input=source.read_bytes(),
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    back, rate = soundfile.read(io.BytesIO(found.stdout))
    assert back.shape == (5000, 2)
    assert rate == 16_000


def test_rounds_of_the_search_for_a_phase(run, tmp_path, capsys):
    mel = write_run(tmp_path / "mel", model_of())
    source = noise(tmp_path / "in.wav", 5000, subtype="FLOAT")
    found = []
    for rounds in (1, 5):
        target = tmp_path / f"{rounds}.wav"
        arguments = [str(mel), str(source), str(target), f"--iterations={rounds}"]
        assert main(["reconstruct", *arguments]) == 0
        found.append(soundfile.read(target, dtype="float32")[0])
    assert np.abs(found[0] - found[1]).max() > 1e-3
    expected = aejax.load(mel).with_iterations(5).reconstruct(soundfile.read(source)[0])
    np.testing.assert_allclose(found[1], expected, atol=1e-3 * np.abs(expected).max())
    for folder, rounds, why in ((run, 4, "without Griffin-Lim"), (mel, 0, "must be 1 to 10,000")):
        arguments = [str(folder), str(source), str(tmp_path / "no.wav"), f"--iterations={rounds}"]
        assert main(["reconstruct", *arguments]) == 1
        assert why in said(capsys)


# Noise, and voices.


def test_noise_is_taken_away(run, tmp_path, capsys):
    changes = {"augment.noise.kind": "white", "task": "denoise"}
    model = small_model(**changes)
    denoiser = write_run(tmp_path / "denoiser", model)
    source = noise(tmp_path / "in.wav", 30_000, 44_100, 2, subtype="FLOAT")
    assert main(["denoise", str(denoiser), str(source), str(tmp_path / "out.wav")]) == 0
    audio, rate = soundfile.read(source, dtype="float32")
    found, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    expected = aejax.load(denoiser).denoise(audio.T, rate).T
    assert found.shape == audio.shape
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    one = noise(tmp_path / "one.wav", 1)
    assert main(["denoise", str(denoiser), str(one), str(tmp_path / "one_out.wav")]) == 0
    assert soundfile.info(tmp_path / "one_out.wav").frames == 1
    assert main(["denoise", str(run), str(source), str(tmp_path / "no.wav")]) == 1
    assert "was not trained to remove noise" in said(capsys)


def test_a_denoiser_is_measured_with_noise(audio_folder, tmp_path, capsys):
    changes = {"augment.noise.kind": "white", "task": "denoise"}
    model = small_model(**changes)
    denoiser = write_run(tmp_path / "denoiser", model)
    assert main(["evaluate", str(denoiser), str(audio_folder)]) == 0
    assert "\nnoisy " in capsys.readouterr().out


def test_a_voice_becomes_another_and_says_so(run, tmp_path, capsys):
    model = model_of(speakers=("Ann é", "bob"), **{"model.speaker_label": "folder"})
    voices = write_run(tmp_path / "voices", model)
    source = noise(tmp_path / "in.flac", 9001, 22_050)
    for suffix in (".flac", ".wav", ".ogg", ".mp3"):
        target = tmp_path / f"out{suffix}"
        assert main(["convert", str(voices), str(source), str(target), "--to=bob"]) == 0
        with soundfile.SoundFile(target) as file:
            assert "synthetic" in file.comment
            assert "bob" in file.comment
    assert soundfile.info(tmp_path / "out.wav").frames == 9001
    assert (
        main(["convert", str(voices), str(source), str(tmp_path / "ann.wav"), "--to=Ann  e\u0301"])
        == 0
    )
    bob, ann = (soundfile.read(tmp_path / name)[0] for name in ("out.wav", "ann.wav"))
    assert np.abs(bob - ann).max() > 1e-3
    for name, arguments, why in (
        ("no.wav", [str(voices), "--to=eve"], "has no speaker eve; it has Ann é, bob"),
        ("no.wav", [str(run), "--to=bob"], "was not trained with model.speaker_label"),
        ("no.au", [str(voices), "--to=bob"], "cannot hold the comment"),
    ):
        given = [arguments[0], str(source), str(tmp_path / name), *arguments[1:]]
        assert main(["convert", *given]) == 1
        assert why in said(capsys)
        assert not (tmp_path / name).exists()


# From one sound to another.


def test_the_ends_are_the_reconstructions(run, tmp_path):
    a = noise(tmp_path / "a.wav", 6000, subtype="FLOAT")
    b = noise(tmp_path / "b.wav", 9000, subtype="FLOAT")
    out = tmp_path / "out.wav"
    assert main(["interpolate", str(run), str(a), str(b), str(out), "--steps=3"]) == 0
    found, _ = soundfile.read(out, dtype="float32")
    assert len(found) == 3 * 9000
    model = aejax.load(run)
    for path, part in ((a, found[:9000]), (b, found[-9000:])):
        audio, _ = soundfile.read(path, dtype="float32")
        whole = model.reconstruct(np.pad(audio, (0, 9000 - len(audio))))
        np.testing.assert_allclose(part, whole, atol=1e-4 * np.abs(whole).max())


def test_a_square_of_four_in_files(run, tmp_path):
    sounds = [str(noise(tmp_path / f"{name}.wav", 4000)) for name in "abcd"]
    out = tmp_path / "square"
    assert main(["interpolate", str(run), *sounds, str(out), "--steps=2"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "1_1.wav",
        "1_2.wav",
        "2_1.wav",
        "2_2.wav",
    ]
    for source, name in zip(sounds, ("1_1", "1_2", "2_1", "2_2"), strict=True):
        audio, _ = soundfile.read(source, dtype="float32")
        found, _ = soundfile.read(out / f"{name}.wav", dtype="float32")
        expected = aejax.load(run).reconstruct(audio)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_weights_are_shares():
    for corners in (2, 4):
        found = np.stack(list(weights(3, corners)))
        assert len(found) == 3 ** (corners // 2)
        np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_array_equal(found[[0, 2, 6, 8]], np.eye(4))
    np.testing.assert_array_equal(found[1], [0.5, 0.5, 0, 0])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["a.wav", "out.wav"], "give two or four sounds"),
        (["a.wav", "a.wav", "out.wav", "--steps=1"], "at least 2"),
        (["a.wav", "two.wav", "out.wav"], ""),
        (["two.wav", "three.wav", "out.wav"], "has 2 channels, another sound has 3"),
        (["a.wav", "nowhere.wav", "out.wav"], "nowhere.wav"),
    ],
)
def test_what_cannot_be_between(run, tmp_path, capsys, monkeypatch, arguments, why):
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "a.wav", 3000)
    noise(tmp_path / "two.wav", 3000, channels=2)
    noise(tmp_path / "three.wav", 3000, channels=3)
    assert main(["interpolate", str(run), *arguments]) == (1 if why else 0)
    assert why in said(capsys)


# Tables.


def test_latents_of_a_folder_as_a_table(run, audio_folder, tmp_path, capsys):
    import pyarrow.parquet

    (audio_folder / "labels.csv").write_text("path,mood\na/wav.wav,calm\n")
    assert main(["encode", str(run), str(audio_folder), str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz", allow_pickle=False) as table:
        columns = dict(table)
    model = aejax.load(run)
    one = columns["clip"] == "a/wav.wav"
    audio, _ = soundfile.read(audio_folder / "a" / "wav.wav", dtype="float32")
    np.testing.assert_allclose(columns["latents"][one], model.encode(audio), atol=1e-3)
    assert columns["seconds"][one][1] == model.block / 16_000
    assert set(columns["label.mood"][one]) == {"calm"}
    assert set(columns["label.mood"][~one]) == {""}
    assert set(columns["label.folder"]) == set("abc")
    assert main(["encode", str(run), str(audio_folder), str(tmp_path / "out.parquet")]) == 0
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pydict()
    np.testing.assert_array_equal(found["latent.3"], columns["latents"][:, 3])
    assert main(["encode", str(run), str(audio_folder), str(tmp_path / "out.csv")]) == 1
    assert "must end in .npz or .parquet" in said(capsys)


def test_a_model_is_measured_on_other_audio(run, audio_folder, capsys):
    assert main(["evaluate", str(run), str(audio_folder)]) == 0
    printed = capsys.readouterr().out
    assert "9 clips" in printed
    rows = [line.split()[0] for line in printed.splitlines() if line and line[0].isalpha()]
    assert rows[-4:] == ["representation", "pca", "experiment", "Only"]  # 9 clips


def test_a_run_that_is_none(tmp_path, capsys):
    source = noise(tmp_path / "in.wav")
    assert main(["reconstruct", str(tmp_path), str(source), str(tmp_path / "out.wav")]) == 1
    assert "holds no run" in said(capsys)
