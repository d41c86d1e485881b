import collections
import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import soundfile
from conftest import REPOSITORY

from aejax.data import loader
from aejax.data.corpus import Settings
from aejax.data.loader import Drawing, Workers
from aejax.data.preflight import preflight, summary
from aejax.data.synthetic import FAMILIES, SyntheticCorpus
from aejax.runtime.errors import UserError


def built_in(clips=30, seconds=0.5, seed=3, **settings):
    settings = Settings(cache_bytes=10**9, **settings)
    return SyntheticCorpus(clips=clips, seconds=seconds, seed=seed, settings=settings)


@pytest.fixture
def corpus():
    return built_in()


def take(corpus, count, **options):
    options = {"excerpt": 2000, "batch_size": 4, "seed": 5} | options
    return list(itertools.islice(loader.train_batches(corpus, **options), count))


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def test_batches_are_seeded_and_resumable(corpus):
    batches = take(corpus, 12)
    assert_same(batches, take(corpus, 12))
    assert_same(batches[7:], take(corpus, 5, start=7))
    assert not np.array_equal(batches[0]["audio"], take(corpus, 1, seed=6)[0]["audio"])
    assert batches[0]["audio"].shape == (4, 2000)
    assert batches[0]["audio"].dtype == np.float32


@pytest.mark.parametrize("workers", [(0, "thread"), (1, "thread"), (7, "thread"), (2, "process")])
def test_batches_do_not_depend_on_the_workers(audio_folder, open_folder, workers):
    corpus = open_folder(audio_folder, test_fraction=0.2)
    drawing = Drawing(3000, redraws=2, silence_db=-20)
    options = {"drawing": drawing, "noise": built_in(), "start": 3}
    batches = take(corpus, 6, **options)
    assert_same(batches, take(corpus, 6, workers=Workers(*workers), **options))
    assert batches[0]["noise"].shape == batches[0]["audio"].shape == (4, 3000)


@pytest.mark.parametrize("count", [2, 4])
def test_shards_are_disjoint_and_together_the_whole(corpus, count):
    whole = take(corpus, 9, start=2)
    shards = [take(corpus, 9, start=2, shard=(index, count)) for index in range(count)]
    for batch, parts in zip(whole, zip(*shards, strict=True), strict=True):
        for key in batch:
            np.testing.assert_array_equal(np.concatenate([p[key] for p in parts]), batch[key])
    with pytest.raises(UserError, match="cannot be divided among 3"):
        take(corpus, 1, shard=(0, 3))


SHARD = """
import sys
import jax
from aejax.data import loader
from aejax.data.corpus import Settings
from aejax.data.synthetic import SyntheticCorpus

port, index = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(f"localhost:{port}", 2, index)
corpus = SyntheticCorpus(clips=40, seconds=0.5, seed=3, settings=Settings())
windows = loader.Windows(corpus, "train", 2000)
shard = (jax.process_index(), jax.process_count())
batches = loader.train_batches(
    corpus, excerpt=2000, batch_size=4, seed=5, shard=shard, workers=loader.Workers(0)
)
for _ in range(len(windows) // 4):
    batch = next(batches)
    for clip, place in zip(batch["clip"], batch["position"]):
        print(clip, float(place).hex())
"""


def test_two_jax_processes_read_one_epoch_between_them():
    port = str(20000 + os.getpid() % 20000)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SHARD, port, str(index)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for index in range(2)
    ]
    rows = [process.communicate(timeout=120)[0].split("\n")[:-1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    corpus = built_in(clips=40)
    windows = loader.Windows(corpus, "train", 2000)
    alone = [
        f"{clip} {float(place).hex()}"
        for batch in take(corpus, len(windows) // 4)
        for clip, place in zip(batch["clip"], batch["position"], strict=True)
    ]
    assert len(rows[0]) == len(rows[1]) > 40
    assert not set(rows[0]) & set(rows[1])
    assert sorted(rows[0] + rows[1]) == sorted(alone)
    # Each clip as often as it has windows: an epoch, but for the rest of a batch.
    counts = collections.Counter(int(row.split()[0]) for row in rows[0] + rows[1])
    assert sum(counts.values()) >= len(windows) - 3
    assert max(counts.values()) == 4


def test_a_worker_that_dies_is_reported_and_not_waited_for(corpus):
    batches = loader.train_batches(
        corpus, excerpt=2000, batch_size=4, seed=5, workers=Workers(2, "process")
    )
    next(batches)
    workers = [
        child
        for child in psutil.Process().children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    workers[-1].send_signal(signal.SIGKILL)
    with pytest.raises(UserError, match="a worker process died"):
        collections.deque(itertools.islice(batches, 5000), maxlen=0)


def test_an_epoch_has_each_training_window_once(corpus):
    windows = loader.Windows(corpus, "train", 2000)
    batches = take(corpus, len(windows), batch_size=1)
    counts = np.bincount([batch["clip"][0] for batch in batches], minlength=len(corpus.clips))
    for index, clip in enumerate(corpus.clips):
        assert counts[index] == (4 if clip.split == "train" else 0)


@pytest.fixture
def uneven(tmp_path, open_folder):
    """Clips of 1 to 8 s, the second half of each of them silent."""
    rng = np.random.default_rng(0)
    for index in range(30):
        audio = 0.1 * rng.standard_normal(8000 * (1 + index % 8))
        audio[len(audio) // 2 :] = 0
        soundfile.write(tmp_path / f"{index:02d}.wav", audio, 8000)
    return open_folder(tmp_path, sample_rate=8000)


def test_weighting_by_duration_or_equal(uneven):
    train = uneven.clips.of_split("train")
    for equal in (False, True):
        windows = loader.Windows(uneven, "train", 4000, equal=equal)
        batches = take(
            uneven, len(windows), excerpt=4000, batch_size=1, drawing=Drawing(4000, equal=equal)
        )
        counts = np.bincount([b["clip"][0] for b in batches], minlength=len(uneven.clips))
        expected = np.ones(len(train)) if equal else uneven.clips.samples[train] // 4000
        np.testing.assert_array_equal(counts[train], expected)


def test_excerpts_lie_evenly_over_their_clip(uneven):
    batches = take(uneven, 100, excerpt=4000, batch_size=8)
    places = np.concatenate([batch["position"] for batch in batches])
    assert np.abs(np.quantile(places, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.06
    for batch in batches[:5]:
        for clip, place, row in zip(batch["clip"], batch["position"], batch["audio"], strict=True):
            free = int(uneven.clips.samples[clip]) - 4000
            first = round(float(place) * free)
            np.testing.assert_array_equal(row, uneven.read(int(clip), first, 4000))


def test_silence_is_drawn_again_so_many_times(uneven, monkeypatch):
    read, reads = uneven.read, []
    monkeypatch.setattr(uneven, "read", lambda *args: reads.append(args) or read(*args))
    silent = {}
    for redraws in (0, 1, 20):
        reads.clear()
        drawing = Drawing(2000, redraws=redraws, silence_db=-50)
        batches = take(uneven, 40, excerpt=2000, drawing=drawing, workers=Workers(0))
        rows = np.concatenate([batch["audio"] for batch in batches])
        silent[redraws] = float(np.mean(np.abs(rows).max(1) < 1e-4))
        assert len(reads) <= (40 + 8) * 4 * (1 + redraws)
    assert 0.25 < silent[0] < 0.6
    assert silent[1] == pytest.approx(silent[0] ** 2, abs=0.1)
    assert silent[20] == 0


def test_noise_is_drawn_with_each_excerpt(corpus):
    noise = built_in(clips=10, seconds=0.1, seed=9)
    batch = take(corpus, 1, noise=noise)[0]
    assert batch["noise"].shape == (4, 2000)
    assert not np.array_equal(batch["noise"][0], batch["noise"][1])
    # Too short, so it begins anew.
    np.testing.assert_array_equal(batch["noise"][:, 1600:], batch["noise"][:, :400])


def test_noise_of_tests_is_of_their_own_split_and_the_same_for_the_same_stretch(
    tmp_path, open_folder
):
    for level in range(1, 11):
        soundfile.write(tmp_path / f"{level}.wav", np.full(3000, level / 20), 16_000)
    corpus = open_folder(tmp_path, validation_fraction=0.2, test_fraction=0.3)
    stretches = [loader.Window(clip, start) for clip in range(20) for start in (0, 2000)]
    for split in ("validation", "test"):
        noise = loader.TestNoise(corpus, split, 2000)
        found = [noise(stretch)[0] for stretch in stretches]
        for stretch, audio in zip(stretches, found, strict=True):
            np.testing.assert_array_equal(noise(stretch)[0], audio)
        levels = {round(20 * float(level)) for audio in found for level in audio if level}
        of_split = corpus.clips.of_split(split).tolist()
        assert levels == {int(corpus.clips.name(clip).removesuffix(".wav")) for clip in of_split}


def test_noise_that_vanishes_is_replaced_and_reported(corpus, audio_folder, open_folder):
    noise = open_folder(audio_folder, validation_fraction=0.0, test_fraction=0.0)
    gone = noise.clips.name(0)
    (audio_folder / gone).unlink()
    said = []
    batches = take(corpus, 10, noise=noise, workers=Workers(2, "thread", said.append))
    assert len(said) == 1
    assert gone in said[0]
    assert all(np.abs(batch["noise"]).max(axis=1).min() > 0 for batch in batches)
    for clip in range(1, 9):
        (audio_folder / noise.clips.name(clip)).unlink()
    with pytest.raises(UserError, match="clips in a row could not be read"):
        take(corpus, 1, noise=noise, workers=Workers(0))


def test_stereo_batches():
    batch = take(built_in(channels="stereo"), 1)[0]
    assert batch["audio"].shape == (4, 2000, 2)
    batch = next(
        iter(loader.Batches(built_in(channels="stereo"), "test", excerpt=9000, batch_size=7))
    )
    assert batch["audio"].shape == (7, 9000, 2)


@pytest.mark.parametrize("workers", [(2, "thread"), (1, "process")])
def test_what_vanishes_is_replaced_and_reported_once(audio_folder, open_folder, workers):
    corpus = open_folder(audio_folder, test_fraction=0.2)
    train = corpus.clips.of_split("train")
    gone = corpus.clips.name(int(train[0]))
    whole = take(corpus, 10)
    (audio_folder / gone).unlink()
    said = []
    batches = take(corpus, 10, workers=Workers(*workers, said.append))
    reason = "cannot be opened: No such file or directory"
    assert said == [f"{gone}: {reason}; the run continues without it"]
    assert_same(batches, take(corpus, 10))
    for batch, before in zip(batches, whole, strict=True):
        assert train[0] not in batch["clip"]
        kept = batch["lost"] < 0
        np.testing.assert_array_equal(batch["audio"][kept], before["audio"][kept])
        np.testing.assert_array_equal(before["clip"][~kept], train[0])


def test_where_nothing_can_be_read_any_more_it_stops(audio_folder, open_folder):
    corpus = open_folder(audio_folder)
    for clip in corpus.clips:
        (audio_folder / clip.name).unlink()
    with pytest.raises(UserError, match=r"16 clips .* the last .* No such file"):
        take(corpus, 1, workers=Workers(0))


def test_what_vanishes_does_not_count_in_evaluation(audio_folder, open_folder):
    corpus = open_folder(audio_folder, test_fraction=0.5)
    test = corpus.clips.of_split("test")
    (audio_folder / corpus.clips.name(int(test[0]))).unlink()
    said = []
    options = {"excerpt": 5000, "batch_size": 4, "workers": Workers(2, "thread", said.append)}
    batches = list(loader.Batches(corpus, "test", **options))
    rows = np.concatenate([batch["clip"] for batch in batches])
    length = np.concatenate([batch["length"] for batch in batches])
    assert (length[rows == test[0]] == 0).all()
    for clip in test[1:]:
        assert length[rows == clip].sum() == 16000
    assert len(said) == 1


def test_so_many_windows_are_spread_over_all_of_a_split(corpus):
    def windows(**options):
        batches = loader.Batches(corpus, "train", excerpt=1000, batch_size=4, **options)
        return [int(clip) for batch in batches for clip in batch["clip"]]

    whole, some = windows(), windows(most=10)
    assert len(some) == 12  # whole batches
    assert some == windows(most=10) != sorted(some)
    ranks = np.searchsorted(sorted(set(whole)), sorted(some)) / len(set(whole))
    np.testing.assert_allclose(ranks, (np.arange(12) + 0.5) / 12, atol=0.13)
    assert windows(most=10**6) == whole


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
            np.testing.assert_array_equal(audio, corpus.read(index, 0, clip.frames))
    assert {batch["audio"].shape for batch in batches} == {(4, 3000)}
    filling = [row for number, row in rows if number < 0]
    assert len(rows) - len(filling) == len(loader.Windows(corpus, "test", 3000))
    assert all(len(row) == 0 for row in filling)


def test_a_clip_shorter_than_an_excerpt_ends_in_silence(corpus):
    batch = take(corpus, 1, excerpt=9000)[0]
    assert (batch["length"] == 8000).all()
    assert not batch["audio"][:, 8000:].any()


RESUMED = """
import itertools, pathlib, sys
import numpy as np
from aejax.data import loader
from aejax.data.corpus import Settings
from aejax.data.folder import open_folder

root, out, stop = sys.argv[1:]
corpus = open_folder(pathlib.Path(root), Settings(test_fraction=0.2))
done = len(pathlib.Path(out).read_text().splitlines()) if pathlib.Path(out).exists() else 0
batches = loader.train_batches(corpus, excerpt=2000, batch_size=4, seed=5, start=done)
with open(out, "a") as file:
    for batch in itertools.islice(batches, int(stop) - done):
        sums = [float(x).hex() for x in batch["audio"].sum(1)]
        print(*sums, *batch["clip"], file=file, flush=True)
"""


def test_killed_and_resumed_the_batches_are_the_same(audio_folder, tmp_path, open_folder):
    """Twice killed with SIGKILL, at random."""
    out = tmp_path / "batches"
    command = [sys.executable, "-c", RESUMED, audio_folder, out, "20000"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    rng = np.random.default_rng()
    for _ in range(2):
        lines = out.read_text().count("\n") if out.exists() else 0
        wanted = lines + int(rng.integers(1, 40))
        process = subprocess.Popen(command, env=environment)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if out.exists() and out.read_text().count("\n") >= wanted:
                break
            time.sleep(0.01)
        process.kill()
        process.wait()
        text = out.read_text()
        out.write_text(text[: text.rindex("\n") + 1])
    count = out.read_text().count("\n")
    corpus = open_folder(audio_folder, test_fraction=0.2)
    expected = [
        " ".join([*(float(x).hex() for x in b["audio"].sum(1)), *map(str, b["clip"])])
        for b in take(corpus, min(count, 300))
    ]
    assert out.read_text().splitlines()[:300] == expected
    assert count > 1


def test_the_built_in_corpus_is_deterministic_and_labelled():
    one = built_in(14, 1.0, 0)
    two = built_in(28, 1.0, 0)
    for index, clip in enumerate(one.clips):
        audio = one.read(index, 0, clip.frames)
        np.testing.assert_array_equal(audio, two.read(index, 0, clip.frames))
        assert np.isfinite(audio).all()
        level = 20 * np.log10(np.abs(audio).max())
        assert level == pytest.approx(clip.labels["loudness"], abs=0.1)
        assert clip.labels["pitch"] > 50
    assert {clip.labels["family"] for clip in one.clips} == set(FAMILIES)
    other_seed = built_in(1, 1.0, 1)
    assert not np.array_equal(one.read(0, 0, 16000), other_seed.read(0, 0, 16000))
    assert "built-in" in summary(preflight(one))


@pytest.mark.parametrize("family", ["tone", "vibrato", "pluck"])
def test_a_label_is_the_pitch_one_hears(family):
    corpus = built_in(70, 1.0, 0)
    clips = [(k, clip) for k, clip in enumerate(corpus.clips) if clip.labels["family"] == family]
    right = 0
    for index, clip in clips:
        audio = corpus.read(index, 1600, 8192) * np.hanning(8192)
        correlation = np.fft.irfft(np.abs(np.fft.rfft(audio, 16384)) ** 2)[:400]
        period = 16000 / clip.labels["pitch"]
        near = correlation[max(0, int(period) - 2) : int(period) + 4].max()
        right += near > 0.7 * correlation[0]
    assert right >= 0.8 * len(clips)
