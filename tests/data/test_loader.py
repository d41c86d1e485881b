import itertools

import numpy as np
import pytest

from aejax.data import corpus as corpora
from aejax.data import loader
from aejax.data.synthetic import FAMILIES, SyntheticCorpus


@pytest.fixture
def corpus():
    return SyntheticCorpus(clips=30, seconds=0.5, seed=3)


def take(corpus, count, **options):
    options = {"excerpt": 2000, "batch_size": 4, "seed": 5, "speeds": (0.9, 1.0)} | options
    return list(itertools.islice(loader.train_batches(corpus, **options), count))


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for key in ("audio", "length", "clip"):
            np.testing.assert_array_equal(batch[key], other[key])


def test_batches_are_seeded_and_resumable(corpus):
    batches = take(corpus, 12)
    assert_same(batches, take(corpus, 12))
    assert_same(batches[7:], take(corpus, 5, start=7))
    assert not np.array_equal(batches[0]["audio"], take(corpus, 1, seed=6)[0]["audio"])
    assert batches[0]["audio"].shape == (4, 2000)
    assert batches[0]["audio"].dtype == np.float32


def test_batches_do_not_depend_on_threads(corpus, monkeypatch):
    batches = take(corpus, 6)
    monkeypatch.setattr(loader, "_READ", loader.grain.ReadOptions(num_threads=1))
    assert_same(batches, take(corpus, 6))


def test_an_epoch_has_each_training_window_once(corpus):
    windows = loader.Windows(corpus, "train", 2000)
    batches = take(corpus, len(windows), batch_size=1)
    counts = np.bincount([batch["clip"][0] for batch in batches], minlength=len(corpus.clips))
    for index, clip in enumerate(corpus.clips):
        assert counts[index] == (4 if clip.split == "train" else 0)


def test_consecutive_windows_cover_every_sample_once(corpus):
    batches = list(loader.Batches(corpus, "test", excerpt=3000, batch_size=4))
    rows = [
        (clip, row[:length])
        for batch in batches
        for clip, row, length in zip(batch["clip"], batch["audio"], batch["length"], strict=True)
    ]
    for index, clip in enumerate(corpus.clips):
        if clip.split == "test":
            audio = np.concatenate([row for number, row in rows if number == index])
            np.testing.assert_array_equal(audio, corpus.read(clip, 0, clip.frames))
    assert {batch["audio"].shape for batch in batches} == {(4, 3000)}
    filling = [row for number, row in rows if number < 0]
    assert len(rows) - len(filling) == len(loader.Windows(corpus, "test", 3000))
    assert all(len(row) == 0 for row in filling)


def test_a_clip_shorter_than_an_excerpt_ends_in_silence(corpus):
    batch = take(corpus, 1, excerpt=9000, speeds=(1.0,))[0]
    assert (batch["length"] == 8000).all()
    assert not batch["audio"][:, 8000:].any()


def test_the_built_in_corpus_is_deterministic_and_labelled():
    one = SyntheticCorpus(clips=14, seconds=1.0, seed=0)
    two = SyntheticCorpus(clips=28, seconds=1.0, seed=0)
    for clip, other in zip(one.clips, two.clips, strict=False):
        audio = one.read(clip, 0, clip.frames)
        np.testing.assert_array_equal(audio, two.read(other, 0, other.frames))
        assert np.isfinite(audio).all()
        level = 20 * np.log10(np.abs(audio).max())
        assert level == pytest.approx(clip.labels["loudness"], abs=0.1)
        assert clip.labels["pitch"] > 50
    assert {clip.labels["family"] for clip in one.clips} == set(FAMILIES)
    other_seed = SyntheticCorpus(clips=1, seconds=1.0, seed=1)
    assert not np.array_equal(
        one.read(one.clips[0], 0, 16000), other_seed.read(other_seed.clips[0], 0, 16000)
    )
    assert "built-in" in corpora.summary(one)


@pytest.mark.parametrize("family", ["tone", "vibrato", "pluck"])
def test_a_label_is_the_pitch_one_hears(family):
    corpus = SyntheticCorpus(clips=70, seconds=1.0, seed=0)
    clips = [clip for clip in corpus.clips if clip.labels["family"] == family]
    right = 0
    for clip in clips:
        audio = corpus.read(clip, 1600, 8192) * np.hanning(8192)
        correlation = np.fft.irfft(np.abs(np.fft.rfft(audio, 16384)) ** 2)[:400]
        period = 16000 / clip.labels["pitch"]
        near = correlation[max(0, int(period) - 2) : int(period) + 4].max()
        right += near > 0.7 * correlation[0]
    assert right >= 0.8 * len(clips)
