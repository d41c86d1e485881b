import collections
import json

import numpy as np
import pytest
import soundfile

from aejax.data import corpus as corpora
from aejax.data import folder
from aejax.errors import UserError


def scan(root, **options):
    return folder.scan(root, sample_rate=16000, **options)


def test_a_split_is_stable_when_files_are_added():
    few = corpora.split_units([f"file{i}" for i in range(300)], 0.1, 0.2)
    many = corpora.split_units([f"file{i}" for i in range(3000)], 0.1, 0.2)
    assert all(many[unit] == split for unit, split in few.items())
    counts = collections.Counter(many.values())
    assert counts["test"] == pytest.approx(600, rel=0.15)
    assert counts["validation"] == pytest.approx(300, rel=0.2)


def test_another_seed_draws_another_split():
    units = [f"file{i}" for i in range(300)]
    splits = [corpora.split_units(units, 0.1, 0.2, seed) for seed in (0, 1, 2)]
    for one, other in ((0, 1), (1, 2)):
        same = sum(splits[one][unit] == splits[other][unit] for unit in units)
        # 0.7² + 0.1² + 0.2² = 0.54 by chance.
        assert 0.4 < same / 300 < 0.7


@pytest.mark.parametrize("count", range(3, 12))
def test_no_split_is_empty_while_there_are_three_units(count):
    split = corpora.split_units([f"speaker{i}" for i in range(count)], 0.05, 0.05)
    assert set(split.values()) == set(corpora.SPLITS)


def test_a_folder_is_scanned_and_read(audio_folder):
    corpus, _ = scan(audio_folder)
    assert len(corpus.clips) == 9
    assert {clip.sample_rate for clip in corpus.clips} == {16000, 44100, 22050}
    assert {clip.labels["folder"] for clip in corpus.clips} == {"a", "b", "c"}
    for clip in corpus.clips:
        audio = corpus.read(clip, 100, 20000)
        assert audio.shape == (20000,)
        assert audio.std() > 0.01
        assert not audio[16000:].any()


def test_split_by_folder_keeps_folders_together(audio_folder):
    corpus, _ = scan(audio_folder, split_by="folder")
    places = collections.defaultdict(set)
    for clip in corpus.clips:
        places[clip.labels["folder"]].add(clip.split)
    assert sorted(len(splits) for splits in places.values()) == [1, 1, 1]
    assert set.union(*places.values()) == set(corpora.SPLITS)


def test_kept_in_memory_or_not_it_sounds_the_same(audio_folder):
    kept, _ = scan(audio_folder, cache_bytes=10**9)
    read, _ = scan(audio_folder, cache_bytes=0)
    for clip in kept.clips:
        for speed in (1.0, 1.2):
            whole = kept.read(clip, 1000, 5000, speed)
            # Resampled once or twice: the filters differ near their cutoff alone.
            error = np.abs(whole - read.read(clip, 1000, 5000, speed)).max()
            assert error < (1e-4 if speed == 1 else 0.02)


def test_bad_files_are_skipped_by_name_and_reason(audio_folder):
    (audio_folder / "a" / "empty.wav").write_bytes(b"")
    (audio_folder / "b" / "odd name\n.flac").write_bytes(b"fLaC nonsense")
    corpus, entries = scan(audio_folder)
    assert corpus.skipped["a/empty.wav"] == "empty file"
    assert corpus.skipped["b/odd name\n.flac"].startswith("unreadable")
    assert len(corpus.clips) == 9
    text = corpora.summary(corpus)
    assert "2 files skipped" in text
    assert "odd name\\n.flac" in text
    saved = json.loads(corpora.to_json(corpus, entries))
    assert saved["skipped"] == corpus.skipped
    assert len(saved["clips"]) == 9


def test_an_unchanged_file_is_not_read_again(audio_folder, monkeypatch):
    first, entries = scan(audio_folder)
    looked = []
    examine = folder.audio_file.examine
    monkeypatch.setattr(
        folder.audio_file, "examine", lambda path: looked.append(path.name) or examine(path)
    )
    soundfile.write(audio_folder / "a" / "wav.wav", np.ones(3000) / 2, 16000)
    again, _ = scan(audio_folder, known=json.loads(json.dumps(entries)))
    assert looked == ["wav.wav"]
    assert len(again.clips) == len(first.clips)


def test_include_picks_files(audio_folder):
    corpus, _ = scan(audio_folder, include=("a/*", "*.ogg"))
    assert len(corpus.clips) == 5
    with pytest.raises(UserError, match=r"no audio files that match data\.include"):
        scan(audio_folder, include=("z*",))


def test_hopeless_folders_are_refused(tmp_path, audio_folder):
    with pytest.raises(UserError, match="does not exist"):
        scan(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is a file"):
        scan(audio_folder / "a" / "wav.wav")
    (tmp_path / "silent").mkdir()
    with pytest.raises(UserError, match="no audio files below"):
        scan(tmp_path / "silent")
    (tmp_path / "silent" / "x.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 1 audio files .* x\.wav: empty file"):
        scan(tmp_path / "silent")
    with pytest.raises(UserError, match="needs audio in sub-folders"):
        scan(audio_folder / "a", split_by="folder")


def test_too_little_for_its_splits_or_its_excerpts(audio_folder):
    corpus, _ = scan(audio_folder, include=("a/wav.wav",))
    with pytest.raises(UserError, match=r"validation.* empty|too small"):
        corpora.check_splits(corpus, 100)
    corpus, _ = scan(audio_folder)
    with pytest.raises(UserError, match=r"every clip is shorter .* data\.excerpt_seconds"):
        corpora.check_splits(corpus, 20000)
    corpora.check_splits(corpus, 16000)


def test_a_file_that_vanishes_is_named(audio_folder):
    corpus, _ = scan(audio_folder)
    (audio_folder / corpus.clips[0].name).unlink()
    with pytest.raises(UserError, match="is not any more"):
        corpus.read(corpus.clips[0], 0, 100)


def test_runs_inside_the_folder_are_no_corpus(audio_folder):
    run = audio_folder / "runs" / "mel_conv"
    (run / "audio").mkdir(parents=True)
    (audio_folder / "a" / "wav.wav").rename(run / "audio" / "wav.wav")
    for name in ("config.json", "corpus.json"):
        (run / name).write_text("{}")
    assert len(folder.scan(audio_folder, sample_rate=16000)[0].clips) == 8


def test_links_that_go_in_circles_are_not_followed(audio_folder):
    (audio_folder / "a" / "loop").symlink_to(audio_folder)
    assert len(scan(audio_folder)[0].clips) == 9


def test_real_audio(real_audio):
    corpus, _ = folder.scan(
        real_audio / "music", sample_rate=16000, split_by="folder", cache_bytes=0
    )
    assert not corpus.skipped
    assert {96000, 192000} <= {clip.sample_rate for clip in corpus.clips}
    for clip in corpus.clips[::9]:
        assert np.isfinite(corpus.read(clip, 0, 16000)).all()
