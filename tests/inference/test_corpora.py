"""Whatever opens a corpus says what it leaves out, and loses nothing on the way to a table."""

import json
import os
import re

import numpy as np
import pytest
import soundfile
from trained_runs import small_model, write_run

from aejax import corpora
from aejax.cli import main
from aejax.data.packing import pack

NOISE = {"augment.noise.kind": "white", "task": "denoise"}
pytestmark = pytest.mark.usefixtures("same_process")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run", small_model())


@pytest.fixture
def mixed(tmp_path):
    """Two sounds, a copy of one, a cut file and one that is not finite; a row of no file."""
    root = tmp_path / "mixed"
    root.mkdir()
    audio = 0.3 * np.sin(np.arange(8000) * 0.1)
    soundfile.write(root / "a.wav", audio, 16000)
    soundfile.write(root / "b.wav", audio[::-1] * 0.5, 16000)
    (root / "copy.wav").write_bytes((root / "a.wav").read_bytes())
    (root / "cut.wav").write_bytes((root / "b.wav").read_bytes()[:9000])
    soundfile.write(root / "nan.wav", audio * np.nan, 16000, subtype="FLOAT")
    (root / "labels.csv").write_text("path,who\na.wav,x\ncopy.wav,y\nA.wav,z\n")
    return root


def says_what_is_left_out(text, copies=True):
    assert re.search(r"cut\.wav: truncated", text)
    assert re.search(r"nan\.wav: non-finite", text)
    assert ("copy.wav: the same sound as a.wav" in text) == copies
    assert "row 4, A.wav (a.wav?)" in text
    return True


@pytest.mark.parametrize("packed", [False, True])
def test_encode_and_evaluate_say_what_they_leave_out(
    run, mixed, tmp_path, capsys, open_folder, packed
):
    folder = mixed
    if packed:
        folder = tmp_path / "pack"
        pack(open_folder(mixed), folder)
        (folder / "labels.csv").write_bytes((mixed / "labels.csv").read_bytes())
    assert main(["encode", str(run), str(folder), str(tmp_path / "o.npz")]) == 0
    assert says_what_is_left_out(capsys.readouterr().err, copies=False)
    with np.load(tmp_path / "o.npz") as table:
        columns = dict(table)
    assert set(columns["clip"]) == {"a.wav", "b.wav", "copy.wav"}
    first, copy = (columns["clip"] == name for name in ("a.wav", "copy.wav"))
    np.testing.assert_array_equal(columns["latents"][first], columns["latents"][copy])
    assert set(columns["label.who"][copy]) == {"y"}
    assert main(["evaluate", str(run), str(folder)]) == 0
    out, err = capsys.readouterr()
    assert says_what_is_left_out(err)
    assert "2 clips" in out
    assert main(["evaluate", str(run), str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {name for kind in found["left_out"].values() for name in kind}
    assert names == {"cut.wav", "nan.wav", "copy.wav"}
    assert "A.wav" in found["warnings"][0]
    assert main(["inspect", str(folder)]) == 0
    assert says_what_is_left_out(capsys.readouterr().out)


def test_a_long_list_ends_and_says_where_it_goes_on(run, mixed, tmp_path, capsys):
    for number in range(30):
        (mixed / f"copy{number:02d}.wav").write_bytes((mixed / "b.wav").read_bytes())
    assert main(["evaluate", str(run), str(mixed)]) == 0
    err = capsys.readouterr().err
    assert "copy08.wav" in err
    assert "copy09.wav" not in err
    assert "and 21 more" in err
    assert f"all of them: aejax inspect {mixed}" in err


@pytest.mark.parametrize("command", ["encode", "evaluate"])
def test_a_folder_of_which_nothing_can_be_used_is_an_error(run, mixed, tmp_path, capsys, command):
    for name in ("a.wav", "b.wav", "copy.wav"):
        (mixed / name).unlink()
    out = [str(tmp_path / "o.npz")] if command == "encode" else []
    assert main([command, str(run), str(mixed), *out]) == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert "of 2 audio files" in last
    assert not (tmp_path / "o.npz").exists()


def test_noise_that_is_left_out_is_named(mixed, audio_folder, small_config, capsys):
    small_config.augment.noise.kind, small_config.augment.noise.path = "folder", str(mixed)
    (mixed / "labels.csv").unlink()
    assert len(corpora.open_noise(small_config).clips) == 2
    assert "cut.wav: truncated" in capsys.readouterr().err


def test_a_clip_that_vanishes_is_named_and_the_others_are_done(
    run, audio_folder, tmp_path, capsys, monkeypatch
):
    opened = corpora.open_corpus

    def open_and_lose(*args, **options):
        corpus = opened(*args, **options)
        (audio_folder / "b" / "wav.wav").unlink()
        return corpus

    monkeypatch.setattr("aejax.corpora.open_corpus", open_and_lose)
    out = tmp_path / "o.npz"
    assert main(["encode", str(run), str(audio_folder), str(out)]) == 0
    assert "b/wav.wav: cannot be opened" in capsys.readouterr().err
    with np.load(out) as table:
        assert len(set(table["clip"])) == 8
    soundfile.write(audio_folder / "b" / "wav.wav", 0.1 * np.sin(np.arange(9000)), 16000)
    monkeypatch.setattr("aejax.inference.evaluate.open_corpus", open_and_lose)
    assert main(["evaluate", str(run), str(audio_folder), "--json"]) == 0
    found, err = capsys.readouterr()
    assert "b/wav.wav: cannot be opened" in err
    assert "b/wav.wav" in json.loads(found)["warnings"][0]


def test_names_and_labels_that_are_not_utf8_get_into_every_table(run, mixed, tmp_path, capsys):
    import pyarrow.parquet

    os.rename(mixed / "b.wav", os.fsencode(mixed) + b"/caf\xe9.wav")
    os.mkdir(os.fsencode(mixed) + b"/d\xe9")
    os.rename(mixed / "copy.wav", os.fsencode(mixed) + b"/d\xe9/copy.wav")
    (mixed / "labels.csv").write_bytes("path,spéaker\na.wav,Zoë\n".encode("cp1252"))
    for suffix in (".parquet", ".npz"):
        assert main(["encode", str(run), str(mixed), str(tmp_path / f"o{suffix}")]) == 0
        assert "not UTF-8" in capsys.readouterr().err
    found = pyarrow.parquet.read_table(tmp_path / "o.parquet").to_pydict()
    assert set(found["clip"]) == {"a.wav", r"caf\udce9.wav", r"d\udce9/copy.wav"}
    assert set(found[r"label.sp\udce9aker"]) == {r"Zo\udceb", ""}
    assert set(found["label.folder"]) == {"", r"d\udce9"}
    assert main(["evaluate", str(run), str(mixed)]) == 0
    assert main(["inspect", str(mixed)]) == 0


def test_parquet_without_pyarrow_is_refused_before_the_work(
    run, mixed, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("aejax.commands.models._load", lambda options: pytest.fail("it began"))
    assert main(["encode", str(run), str(mixed), str(tmp_path / "o.parquet")]) == 1
    assert "needs pyarrow" in capsys.readouterr().err
