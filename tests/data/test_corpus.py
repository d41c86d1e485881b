import collections
import os

import numpy as np
import pytest
import soundfile

from aejax.data import corpus as corpora
from aejax.data.audio_file import UnusableAudio
from aejax.data.preflight import preflight, report, summary
from aejax.data.table import SPLITS
from aejax.runtime.errors import UserError


def test_a_split_is_stable_when_files_are_added():
    few = corpora.split_units([f"file{i}" for i in range(300)], 0.1, 0.2)
    many = corpora.split_units([f"file{i}" for i in range(3000)], 0.1, 0.2)
    np.testing.assert_array_equal(many[:300], few)
    counts = dict(zip(SPLITS, np.bincount(many), strict=True))
    assert counts["test"] == pytest.approx(600, rel=0.15)
    assert counts["validation"] == pytest.approx(300, rel=0.2)


def test_the_split_of_a_name_never_changes():
    """What was measured once is only comparable as long as this holds."""
    names = ["a", "b", "speech/x.flac", "caf\udce9.wav", "e", "f", "g"]
    split = corpora.split_units(names, 0.2, 0.3)
    assert [SPLITS[place] for place in split] == EXPECTED


EXPECTED = ["validation", "test", "train", "train", "test", "test", "train"]


def test_another_seed_draws_another_split():
    units = [f"file{i}" for i in range(300)]
    splits = [corpora.split_units(units, 0.1, 0.2, seed) for seed in (0, 1, 2)]
    for one, other in ((0, 1), (1, 2)):
        # 0.7² + 0.1² + 0.2² = 0.54 by chance.
        assert 0.4 < np.mean(splits[one] == splits[other]) < 0.7


@pytest.mark.parametrize("count", range(3, 12))
def test_no_split_is_empty_while_there_are_three_units(count):
    split = corpora.split_units([f"speaker{i}" for i in range(count)], 0.05, 0.05)
    assert set(split.tolist()) == {0, 1, 2}


def test_a_folder_is_read(audio_folder, open_folder):
    corpus = open_folder(audio_folder)
    assert len(corpus.clips) == 9
    assert {clip.sample_rate for clip in corpus.clips} == {16000, 44100, 22050}
    assert {clip.labels["folder"] for clip in corpus.clips} == {"a", "b", "c"}
    for index, clip in enumerate(corpus.clips):
        assert clip.samples == 16000
        audio = corpus.read(index, 100, 20000)
        assert audio.shape == (20000,)
        assert audio.std() > 0.01
        assert not audio[16000:].any()


def test_split_by_folder_keeps_folders_together(audio_folder, open_folder):
    corpus = open_folder(audio_folder, split_by="folder")
    places = collections.defaultdict(set)
    for clip in corpus.clips:
        places[clip.labels["folder"]].add(clip.split)
    assert sorted(len(splits) for splits in places.values()) == [1, 1, 1]
    assert set.union(*places.values()) == set(SPLITS)
    with pytest.raises(UserError, match="needs audio in sub-folders"):
        open_folder(audio_folder / "a", split_by="folder")


@pytest.mark.parametrize("channels", ["mono", "stereo", "each"])
def test_kept_in_memory_or_not_it_sounds_the_same(audio_folder, open_folder, channels):
    kept = open_folder(audio_folder, channels=channels, cache_bytes=10**9)
    some = open_folder(audio_folder, channels=channels, cache_bytes=4 * 16000 * 5)
    none = open_folder(audio_folder, channels=channels)
    for clip in range(len(kept.clips)):
        whole = kept.read(clip, 1000, 5000)
        np.testing.assert_allclose(whole, none.read(clip, 1000, 5000), atol=2e-5)
        np.testing.assert_allclose(whole, some.read(clip, 1000, 5000), atol=2e-5)
    assert len(kept._whole) == len(kept.clips)
    assert 0 < len(some._whole) < len(some.clips)
    assert not none._whole


def test_channel_policies_of_a_folder(tmp_path, open_folder):
    rng = np.random.default_rng(0)
    three = rng.uniform(-0.5, 0.5, (16000, 3)).astype(np.float32)
    one = rng.uniform(-0.5, 0.5, (16000, 1)).astype(np.float32)
    soundfile.write(tmp_path / "three.wav", three, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "one.wav", one, 16000, subtype="FLOAT")
    expected = {
        "mono": {"one.wav": one[:, 0], "three.wav": three.mean(1)},
        "first": {"one.wav": one[:, 0], "three.wav": three[:, 0]},
        "stereo": {"one.wav": one.repeat(2, axis=1), "three.wav": three[:, :2]},
        "each": {"one.wav": one[:, 0]} | {f"three.wav[{k + 1}]": three[:, k] for k in range(3)},
    }
    for channels, clips in expected.items():
        corpus = open_folder(tmp_path, channels=channels)
        read = {clip.name: corpus.read(k, 0, 16000) for k, clip in enumerate(corpus.clips)}
        assert list(read) == list(clips)
        for name, audio in clips.items():
            np.testing.assert_allclose(read[name], audio, atol=1e-7)
    assert len({clip.split for clip in corpus.clips if "three" in clip.name}) == 1


def test_bad_files_are_left_out_by_name_and_reason(audio_folder, open_folder):
    (audio_folder / "a" / "empty.wav").write_bytes(b"")
    (audio_folder / "b" / "odd name\n.flac").write_bytes(b"fLaC nonsense")
    (audio_folder / "c" / "cut.wav").write_bytes(
        (audio_folder / "c" / "wav.wav").read_bytes()[:999]
    )
    corpus = open_folder(audio_folder)
    assert corpus.skipped["a/empty.wav"] == "empty file"
    assert corpus.skipped["b/odd name\n.flac"].startswith("unreadable")
    assert corpus.skipped["c/cut.wav"].startswith("truncated")
    assert len(corpus.clips) == 9
    text = summary(preflight(corpus))
    assert "3 files left out: 1 empty, 1 truncated, 1 unreadable" in text
    assert "odd name\\n.flac" in text


@pytest.mark.parametrize(
    ("by", "folders", "seconds"),
    [("folder", 4, 40), ("folder", 60, 20), ("folder", 60, 2)] + [("file", 6, 200)],
)
def test_a_split_of_few_units_or_little_sound_is_named(tmp_path, open_folder, by, folders, seconds):
    rng = np.random.default_rng(0)
    for number in range(folders):
        (tmp_path / f"s{number}").mkdir()
        audio = rng.uniform(-0.5, 0.5, 1000 * seconds)
        soundfile.write(tmp_path / f"s{number}" / "a.flac", audio, 1000)
    corpus = open_folder(
        tmp_path, split_by=by, sample_rate=1000, validation_fraction=0.3, test_fraction=0.3
    )
    units = collections.Counter(clip.split for clip in corpus.clips)
    least = 10 if by == "file" else 5
    few = {
        split: count
        for split, count in units.items()
        if split != "train" and (count < least or count * seconds < 60)
    }
    assert bool(few) == (folders != 60 or seconds == 2)
    found = preflight(corpus)
    assert {line.split()[0]: int(line.split()[2]) for line in found.thin} == few
    for line in found.thin:
        assert line in summary(found)
        assert line in report(found)
        assert f"which take at least {least} {by}s and 60 seconds" in line


def test_what_is_not_split_is_not_thin(audio_folder, open_folder):
    corpus = open_folder(audio_folder, validation_fraction=0.0, test_fraction=0.0)
    assert not preflight(corpus).thin


def test_the_same_sound_is_used_once(audio_folder, open_folder):
    audio, rate = soundfile.read(audio_folder / "b" / "flac.flac", dtype="int16")
    soundfile.write(audio_folder / "c" / "copy.wav", audio, rate)
    os.link(audio_folder / "a" / "wav.wav", audio_folder / "z.wav")
    corpus = open_folder(audio_folder)
    assert len(corpus.clips) == 9
    assert corpus.skipped == {
        "c/copy.wav": "the same sound as b/flac.flac",
        "z.wav": "the same sound as a/wav.wav",
    }


def test_too_little_for_its_splits_or_its_excerpts(audio_folder, open_folder):
    corpus = open_folder(audio_folder, include=("a/wav.wav",))
    with pytest.raises(UserError, match=r"validation.* empty|too small"):
        corpora.check_splits(corpus, 100)
    corpus = open_folder(audio_folder)
    with pytest.raises(UserError, match=r"every clip is shorter .* data\.excerpt_seconds"):
        corpora.check_splits(corpus, 20000)
    corpora.check_splits(corpus, 16000)


def test_a_file_that_vanishes_or_changes_is_not_read(audio_folder, open_folder):
    corpus = open_folder(audio_folder)
    (audio_folder / corpus.clips[0].name).unlink()
    soundfile.write(audio_folder / corpus.clips[1].name, np.ones(9), 16000, format="WAV")
    for clip, reason in ((0, "No such file"), (1, "changed since it was scanned")):
        with pytest.raises(UnusableAudio, match=reason):
            corpus.read(clip, 0, 100)


def test_changes_between_two_scans(audio_folder, open_folder):
    then = open_folder(audio_folder).scanned
    assert corpora.changes(then, then) == []
    (audio_folder / "a" / "wav.wav").rename(audio_folder / "a" / "new.wav")
    (audio_folder / "notes.txt").write_text("no audio")
    audio, rate = soundfile.read(audio_folder / "b" / "wav.wav")
    soundfile.write(audio_folder / "b" / "wav.wav", -audio, rate)
    now = open_folder(audio_folder).scanned
    assert corpora.changes(now, then) == ["a/new.wav", "a/wav.wav", "b/wav.wav"]


def test_real_audio(real_audio, open_folder):
    corpus = open_folder(real_audio / "music", split_by="folder")
    assert not corpus.skipped
    assert {96000, 192000} <= {clip.sample_rate for clip in corpus.clips}
    for clip in range(0, len(corpus.clips), 9):
        assert np.isfinite(corpus.read(clip, 0, 16000)).all()
