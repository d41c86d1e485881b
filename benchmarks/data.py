"""Reading audio: how fast, against what else one would use; and how it grows with the corpus.

    python benchmarks/data.py ../shared/audio/data

Four parts, each of which can be had alone with ``--parts``:

- ``excerpts``: random excerpts of 1 s at 16 kHz from the FLAC files of the folder, in seconds of
  audio per second of CPU time, against a plain loop of soundfile and soxr, ``librosa.load`` and a
  PyTorch ``DataLoader`` over the same reader with as many workers; from a pack too. In turns;
  medians of ratios.
- ``index``: loading the scan of 10^3 to 10^6 made-up clips (or ``--clips``), the first batch's
  order, memory over an epoch.
- ``memory``: the peak of a training run on 1 and on 10 hours.
- ``wait``: the fraction of the default run that the device waits for data.

librosa comes with the extra "test", PyTorch with the extra "bench".
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile
import soxr

from aejax.data import loader, packing, table
from aejax.data import scan as scans
from aejax.data.corpus import Settings
from aejax.data.folder import FolderCorpus
from aejax.data.packed import PackedCorpus
from aejax.data.table import Strings
from aejax.runtime import files

RATE = 16_000
PARTS = ("excerpts", "index", "memory", "wait")
ROOT = pathlib.Path(__file__).parents[1]


def cpu_seconds():
    """Of this process and the children that have ended."""
    use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in use)


class Excerpts:
    """The same random places, for all readers."""

    def __init__(self, corpus, count):
        self.corpus = corpus
        rng = np.random.default_rng(0)
        weights = corpus.clips.samples / corpus.clips.samples.sum()
        self.clips = rng.choice(len(corpus.clips), count, p=weights).tolist()
        free = np.maximum(0, corpus.clips.samples[self.clips] - RATE)
        self.starts = (rng.random(count) * (free + 1)).astype(int).tolist()
        self.paths = [str(corpus.root / corpus.clips.files[clip]) for clip in self.clips]

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, k):
        return self.corpus.read(self.clips[k], self.starts[k], RATE)

    def aejax(self):
        for k in range(len(self)):
            self[k]

    def soundfile_and_soxr(self):
        for path, start in zip(self.paths, self.starts, strict=True):
            with soundfile.SoundFile(path) as file:
                rate = file.samplerate
                file.seek(min(file.frames, start * rate // RATE))
                audio = file.read(rate, dtype="float32", always_2d=True)
            # As fast as it can be written: NumPy's mean(axis=1) takes 30 times as long.
            audio = (audio[:, 0] + audio[:, 1]) / 2 if audio.shape[1] > 1 else audio[:, 0]
            if rate != RATE:
                soxr.resample(audio, rate, RATE)

    def librosa(self):
        import librosa

        for path, start in zip(self.paths, self.starts, strict=True):
            librosa.load(path, sr=RATE, offset=start / RATE, duration=1.0)

    def librosa_whole(self):
        import librosa

        for path, start in zip(self.paths, self.starts, strict=True):
            librosa.load(path, sr=RATE)[0][start : start + RATE]


def aejax_loader(corpus, count, kind, workers):
    """Batches as a run has them, from threads or processes, in wall-clock time."""
    batches = loader.train_batches(
        corpus, excerpt=RATE, batch_size=32, seed=0, workers=loader.Workers(workers, kind)
    )
    next(batches)
    begin = time.perf_counter()
    for _ in range(count // 32):
        next(batches)
    return time.perf_counter() - begin


def torch_loader(excerpts, workers):
    """PyTorch's over the same reader and places, in wall-clock time, once its workers are there."""
    import torch

    torch.set_num_threads(1)
    batches = iter(torch.utils.data.DataLoader(excerpts, batch_size=32, num_workers=workers))
    next(batches)
    begin = time.perf_counter()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - begin) * (len(excerpts) // 32) / count


def in_turns(turns, reading):
    """Seconds of each reader, turn by turn."""
    seconds = {name: [] for name in reading}
    for _ in range(turns):
        for name, read in reading.items():
            begin = cpu_seconds()
            given = read()
            seconds[name].append(cpu_seconds() - begin if given is None else given)
    return seconds


def ratio(seconds, ours, theirs):
    pairs = zip(seconds[ours], seconds[theirs], strict=True)
    return statistics.median(their / our for our, their in pairs)


def excerpts(options):
    settings = Settings(sample_rate=RATE)
    scanned = scans.scan(options.audio, include=("*.flac",))
    folder = FolderCorpus(options.audio, scanned, settings)
    with tempfile.TemporaryDirectory() as scratch:
        packs = {}
        for encoding in ("pcm16", "flac"):
            begin = time.perf_counter()
            packing.pack(folder, pathlib.Path(scratch, encoding), encoding=encoding)
            packs[encoding] = PackedCorpus(pathlib.Path(scratch, encoding), settings)
            hours = folder.clips.samples.sum() / RATE / 3600
            print(f"packed {hours:.2f} hours as {encoding} in {time.perf_counter() - begin:.1f} s")
        cached = FolderCorpus(options.audio, scanned, Settings(cache_bytes=10**9))
        count = options.excerpts
        from_folder = Excerpts(folder, count)
        reading = {
            "aejax, folder": from_folder.aejax,
            "soundfile + soxr": from_folder.soundfile_and_soxr,
            "librosa.load, of 1 s": from_folder.librosa,
            "librosa.load, then cut": from_folder.librosa_whole,
        }
        for encoding, pack in packs.items():
            places = Excerpts(folder, count)
            places.corpus = pack
            reading[f"aejax, {encoding} pack"] = places.aejax
        kept = Excerpts(cached, count)
        kept.aejax()  # into memory
        reading["aejax, folder in memory"] = kept.aejax
        seconds = in_turns(options.turns, reading)
        print(f"\n{count} excerpts of 1 s, seconds of audio per second of CPU time (medians):")
        for name in reading:
            rate = count / statistics.median(seconds[name])
            against = ratio(seconds, "aejax, folder", name)
            print(f"  {name:26} {rate:8.0f}   {1 / against:6.2f} x aejax, folder")
        print("\nbatches of 32, seconds of audio per second of wall-clock time (medians):")
        workers, count = options.workers, 4 * count  # long enough for what is read ahead
        for what, corpus in (("files", folder), ("pack", packs["pcm16"]), ("memory", cached)):
            places = Excerpts(folder, count)
            places.corpus = corpus
            against_torch(what, corpus, places, count, workers, options.turns)


def against_torch(what, corpus, places, count, workers, turns):
    theirs = f"PyTorch, {workers} workers"
    reading = {
        f"aejax, {workers} threads": lambda: aejax_loader(corpus, count, "thread", workers),
        f"aejax, {workers} processes": lambda: aejax_loader(corpus, count, "process", workers),
        theirs: lambda: torch_loader(places, workers),
    }
    seconds = in_turns(turns, reading)
    for name in reading:
        rate = count // 32 * 32 / statistics.median(seconds[name])
        print(f"  {what:7} {name:20} {rate:8.0f}   {ratio(seconds, name, theirs):6.2f} x PyTorch")


def made_up_scan(count):
    """A scan of so many clips of 1 to 20 s; no audio is behind it."""
    rng = np.random.default_rng(0)
    facts = np.zeros(count, scans.FACTS)
    facts["frames"] = rng.integers(RATE, 20 * RATE, count)
    facts["sample_rate"], facts["channels"] = RATE, 1
    facts["digest"] = rng.integers(0, 2**63, count)
    names = [f"speaker{k % 5000:04d}/chapter{k // 5000:05d}/{k:08d}.flac" for k in range(count)]
    empty = Strings(np.zeros(0, np.uint8), np.zeros(count, np.int64))
    return scans.Scan(Strings.of(sorted(names)), facts, empty, ("FLAC PCM_16",))


class Nothing(FolderCorpus):
    """Silence of every clip's length, at no cost."""

    def read(self, clip, start, length):
        return np.zeros(length, np.float32)


def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_index(count):
    """In a process of its own, for the sake of its memory: what loading and an epoch take."""
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch, "scan.npz")
        child = [sys.executable, __file__, str(ROOT), "--make_index", str(count), str(path)]
        subprocess.run(child, check=True)
        before = peak_megabytes()
        begin = time.perf_counter()
        scanned = scans.load(path)
        loaded = time.perf_counter() - begin
        corpus = Nothing(pathlib.Path(scratch), scanned, Settings(sample_rate=RATE))
        ready = time.perf_counter() - begin
        memory = peak_megabytes() - before
        begin = time.perf_counter()
        windows = loader.Windows(corpus, "train", RATE)
        batches = loader.train_batches(
            corpus,
            excerpt=RATE,
            batch_size=256,
            seed=0,
            drawing=loader.Drawing(16),
            workers=loader.Workers(2),
        )
        next(batches)
        first = time.perf_counter() - begin
        # An epoch, or what of it can be had in a minute.
        halfway, end = None, time.perf_counter() + 60
        for _ in range(len(windows) // 256):
            next(batches)
            halfway = halfway or peak_megabytes()
            if time.perf_counter() > end:
                break
        growth = peak_megabytes() - (halfway or peak_megabytes())
    print(
        f"  {count:>9}  {loaded:8.2f}  {ready:8.2f}  {memory:10.0f}  {first:11.2f}"
        f"  {len(windows):>9}  {growth:10.1f}",
        flush=True,
    )


def index(options):
    print("\nmade-up clips: seconds to load the scan, to have the corpus, MB for both, seconds to")
    print("the first batch, windows in an epoch, MB that memory grows over it (or over a minute)")
    print("      clips      scan    corpus          MB  first batch    windows     growing")
    for count in options.clips:
        subprocess.run([sys.executable, __file__, str(ROOT), "--one_index", str(count)], check=True)


def lengthened(audio, out, hours):
    """The folder's speech, again and again at other levels, until it is so many hours."""
    files = sorted((audio / "speech").rglob("*.flac"))
    clips = [soundfile.read(file, dtype="float32") for file in files]
    clips = [(sound, rate) for sound, rate in clips if len(sound) > 2 * rate]
    seconds, copy = 0.0, 0
    while seconds < hours * 3600:
        for place, (sound, rate) in enumerate(clips):
            path = out / f"{copy:03d}" / f"{place:04d}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound * 0.99**copy, rate)
            seconds += len(sound) / rate
            if seconds >= hours * 3600:
                break
        copy += 1


def run(workdir, *keys):
    """A run in a process of its own; its peak memory in MB and its metrics."""
    command = [sys.executable, "-m", "aejax.main", "--config=experiments/mel_conv.py"]
    command += [f"--workdir={workdir}", *(f"--config.{key}" for key in keys)]
    script = (
        "import resource, subprocess, sys;"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return float(done.stdout), lines


def memory(options):
    print("\npeak memory of a training run of 300 steps:")
    peaks = {}
    with tempfile.TemporaryDirectory() as scratch:
        for hours in (1, 10):
            folder = pathlib.Path(scratch, f"{hours}h")
            lengthened(options.audio, folder, hours)
            # Few in the test split: what is measured is reading and training.
            keys = [f"data.path={folder}", "train.steps=300", "data.test_fraction=0.01"]
            keys.append("data.validation_fraction=0.01")
            peaks[hours], _ = run(pathlib.Path(scratch, f"run{hours}"), *keys)
            print(f"  {hours:>2} hours  {peaks[hours]:6.0f} MB", flush=True)
    print(f"  10 hours / 1 hour: {peaks[10] / peaks[1]:.3f}")


def wait(_):
    with tempfile.TemporaryDirectory() as scratch:
        _, lines = run(pathlib.Path(scratch, "run"))
    fractions = [x["time/data_wait_fraction"] for x in lines if "time/data_wait_fraction" in x]
    print(
        f"\ndefault run: the device waits for data {statistics.mean(fractions):.2%} of the time"
        f" (median of {len(fractions)} lines {statistics.median(fractions):.2%})"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("audio", type=files.expand)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--excerpts", type=int, default=640)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clips", nargs="+", type=int, default=[10**k for k in (3, 4, 5, 6)])
    parser.add_argument("--one_index", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--make_index", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make_index:
        table.save_arrays(
            pathlib.Path(options.make_index[1]),
            scans.as_arrays(made_up_scan(int(options.make_index[0]))),
        )
    elif options.one_index:
        one_index(options.one_index)
    else:
        for part in options.parts:
            {"excerpts": excerpts, "index": index, "memory": memory, "wait": wait}[part](options)


if __name__ == "__main__":
    main()
