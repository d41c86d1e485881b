import os

import numpy as np
import pytest
import soundfile

from aejax.data import scan as scans
from aejax.data import table, walk
from aejax.data.table import Strings
from aejax.runtime.errors import UserError


@pytest.fixture
def looked(monkeypatch):
    """Names of the files that were read."""
    names = []
    examine = scans.examine
    monkeypatch.setattr(scans, "examine", lambda path: names.append(path.name) or examine(path))
    return names


def test_a_second_look_only_stats(audio_folder, looked, tmp_path, open_folder):
    (audio_folder / "broken.wav").write_bytes(b"RIFF")
    (audio_folder / "notes.txt").write_text("no audio")
    first = open_folder(audio_folder)
    assert len(looked) == 11
    looked.clear()
    again = open_folder(audio_folder)
    assert looked == []
    assert again.skipped == first.skipped == {"broken.wav": first.skipped["broken.wav"]}
    np.testing.assert_array_equal(again.scanned.facts, first.scanned.facts)
    soundfile.write(audio_folder / "a" / "wav.wav", np.ones(3000) / 2, 16000)
    assert open_folder(audio_folder).clips.frames.min() == 3000
    assert looked == ["wav.wav"]


def test_a_scan_that_was_stopped_goes_on(audio_folder, looked, monkeypatch):
    monkeypatch.setattr(scans, "_SAVE_EVERY", 0.0)
    saved = []

    class Stop(Exception):
        pass

    def save(found):
        saved.append(found)
        if len(found.names) == 4:
            raise Stop

    with pytest.raises(Stop):
        scans.scan(audio_folder, save=save)
    monkeypatch.setattr(scans, "_SAVE_EVERY", 1e9)
    looked.clear()
    whole = scans.scan(audio_folder, known=saved[-1])
    assert len(looked) == 5
    np.testing.assert_array_equal(whole.facts, scans.scan(audio_folder).facts)


def test_a_scan_comes_back_as_it_was(audio_folder, tmp_path):
    (audio_folder / "caf\udce9 \n'.wav").write_bytes(b"")
    scanned = scans.scan(audio_folder)
    scans.save(tmp_path / "deep" / "scan.npz", scanned)
    loaded = scans.load(tmp_path / "deep" / "scan.npz")
    assert list(loaded.names) == list(scanned.names)
    assert "caf\udce9 \n'.wav" in loaded.names
    assert list(loaded.problems) == list(scanned.problems)
    assert loaded.formats == scanned.formats
    np.testing.assert_array_equal(loaded.facts, scanned.facts)
    assert os.listdir(tmp_path / "deep") == ["scan.npz"]


def hostile(path, scanned, how):
    arrays = scans.as_arrays(scanned)
    if how == "pickle":
        np.savez(path, names=np.asarray([{}], dtype=object))
    elif how == "compressed":
        np.savez_compressed(path, facts=scanned.facts)
    elif how == "overlapping":
        arrays["names"] = Strings(arrays["names"].block, arrays["names"].ends[::-1].copy())
        table.save_arrays(path, arrays)
    elif how == "beyond":
        arrays["names"] = Strings(arrays["names"].block, arrays["names"].ends + 10**9)
        table.save_arrays(path, arrays)
    elif how == "another format":
        arrays["facts"] = arrays["facts"].copy()
        arrays["facts"]["format"] = 99
        table.save_arrays(path, arrays)
    elif how == "shorter":
        arrays["facts"] = arrays["facts"][:-1]
        table.save_arrays(path, arrays)
    elif how == "cut":
        table.save_arrays(path, arrays)
        path.write_bytes(path.read_bytes()[:-500])
    elif how == "huge":
        table.save_arrays(path, arrays)
        data = path.read_bytes()
        path.write_bytes(data.replace(b"'shape': (", b"'shape': (9", 1))


@pytest.mark.parametrize(
    "how",
    ["pickle", "compressed", "overlapping", "beyond", "another format", "shorter", "cut", "huge"],
)
def test_a_hostile_scan_is_refused_and_one_in_the_cache_counts_as_none(audio_folder, tmp_path, how):
    scanned = scans.scan(audio_folder)
    hostile(tmp_path / "scan.npz", scanned, how)
    with pytest.raises(UserError, match=r"scan\.npz is damaged"):
        scans.load(tmp_path / "scan.npz")
    cache = scans.cache_path(audio_folder)
    cache.parent.mkdir(parents=True)
    (tmp_path / "scan.npz").rename(cache)
    assert scans.recall(audio_folder) is None
    cache.unlink()
    cache.symlink_to("/dev/zero")
    assert scans.recall(audio_folder) is None


def test_what_the_system_would_not_give_is_asked_for_again(audio_folder, monkeypatch, looked):
    def too_many(*args, **options):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", too_many)
        scanned = scans.scan(audio_folder)
    assert set(scanned.problems) == {"cannot be opened: Too many open files"}
    assert scans.scan(audio_folder, known=scanned).usable().all()


def test_without_a_home_there_is_no_cache(audio_folder, open_folder, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(scans.Path, "home", nowhere)
    assert len(open_folder(audio_folder).clips) == 9


@pytest.mark.parametrize("include", [("*",), ("a/*",)])
def test_a_folder_that_may_not_be_entered_is_said(audio_folder, monkeypatch, include):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    skipped = scans.scan(audio_folder, include=include).skipped()
    assert skipped == {"b/": "cannot be opened: Permission denied"}
    monkeypatch.setattr(os, "scandir", lambda path: refuse("b"))
    with pytest.raises(UserError, match="no permission"):
        scans.scan(audio_folder, include=include)


def test_include_picks_files(audio_folder, open_folder):
    assert len(open_folder(audio_folder, include=("a/*", "*.ogg")).clips) == 5
    assert len(open_folder(audio_folder).clips) == 9
    with pytest.raises(UserError, match=r"no audio files that match data\.include"):
        open_folder(audio_folder, include=("z*",))


def test_hopeless_folders_are_refused(tmp_path, audio_folder, open_folder):
    with pytest.raises(UserError, match="does not exist"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is a file"):
        open_folder(audio_folder / "a" / "wav.wav")
    (tmp_path / "quiet").mkdir()
    with pytest.raises(UserError, match="no audio files below"):
        open_folder(tmp_path / "quiet")
    (tmp_path / "quiet" / "x.txt").write_text("text")
    with pytest.raises(UserError, match=r"no audio files below .* \(1 other file\)"):
        open_folder(tmp_path / "quiet")
    (tmp_path / "quiet" / "x.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"of 1 audio file .* x\.wav: empty file"):
        open_folder(tmp_path / "quiet")


def test_runs_inside_the_folder_are_no_corpus(audio_folder):
    run = audio_folder / "runs" / "mel_conv"
    (run / "audio").mkdir(parents=True)
    (audio_folder / "a" / "wav.wav").rename(run / "audio" / "wav.wav")
    for name in ("config.json", "corpus.json", "pca.npz"):
        (run / name).write_text("{}")
    assert len(scans.scan(audio_folder).names) == 8


def test_links_are_followed_once_and_never_upwards(audio_folder, tmp_path):
    (audio_folder / "a" / "loop").symlink_to(audio_folder)
    (audio_folder / "b" / "up").symlink_to(tmp_path)
    (audio_folder / "self.wav").symlink_to(audio_folder / "self.wav")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (audio_folder / "a" / "wav.wav").rename(elsewhere / "wav.wav")
    (audio_folder / "linked").symlink_to(elsewhere)
    (audio_folder / "linked again").symlink_to(elsewhere)
    scanned = scans.scan(audio_folder)
    assert scanned.usable().sum() == 9
    assert [name for name in scanned.names if "linked" in name] == ["linked/wav.wav"]
    assert scanned.skipped() == {"self.wav": "cannot be opened: Too many levels of symbolic links"}


def test_hidden_files_and_pipes_are_no_corpus(audio_folder):
    (audio_folder / "a" / "wav.wav").rename(audio_folder / "a" / ".hidden.wav")
    os.mkfifo(audio_folder / "pipe")
    (audio_folder / ".git").mkdir()
    (audio_folder / ".git" / "in.FLAC").touch()
    (audio_folder / ".git" / "config").touch()
    (audio_folder / ".DS_Store").touch()
    scanned = scans.scan(audio_folder)
    assert scanned.usable().sum() == 8
    assert scanned.skipped() == dict.fromkeys((".git/in.FLAC", "a/.hidden.wav"), walk.HIDDEN)


def test_whatever_is_wrong_with_one_file_the_others_are_used(audio_folder, monkeypatch):
    examine = scans.examine

    def fail(path):
        if path.name == "ogg.ogg":
            raise ZeroDivisionError("a defect")
        return examine(path)

    monkeypatch.setattr(scans, "examine", fail)
    scanned = scans.scan(audio_folder)
    assert scanned.usable().sum() == 6
    assert scanned.skipped()["a/ogg.ogg"] == "unreadable: ZeroDivisionError: a defect"


def test_strings():
    words = ["", "a", "caf\udce9", "", "日本", "z" * 300]
    strings = Strings.of(words)
    assert list(strings) == words
    assert list(strings.take(np.asarray([4, 0, 2, 2]))) == ["日本", "", "caf\udce9", "caf\udce9"]
    assert list(Strings.of([])) == []
    with pytest.raises(IndexError):
        strings[6]
