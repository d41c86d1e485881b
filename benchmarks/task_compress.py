"""Sound compressed by a trained model, against Opus, MP3 and PCA with the same coder.

Test clips of the run, each a file of its own; rates are of true bytes on disk over seconds of
sound, headers included. Opus and MP3 by libsndfile, at the lowest rates that it writes and the one
above; their delay, if any is left, is taken out before anything is measured.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import jax
import numpy as np
import scipy.signal
import soundfile
from pesq import pesq
from pystoi import stoi

import aejax
from aejax import corpora, signal
from aejax.data.loader import Batches
from aejax.evaluation import entropy_coding
from aejax.evaluation.evaluate import analyse
from aejax.inference import compress
from aejax.inference.model import TrainedModel
from aejax.models import autoencoder
from aejax.prepare import excerpt_blocks
from aejax.runtime.devices import Devices
from aejax.training import pca_fit

RATES = (1.0, 2.0, 4.0, 8.0)
PCA_SIZES = (32, 64, 128, 256, 384)
MEASURES = ("mel distance", "STFT distance", "SI-SDR (dB)", "PESQ", "STOI")
# Container, encoding, compression level of libsndfile.
PEERS = {
    "Opus": [(".opus", 1.0), (".opus", 0.99)],
    "MP3": [(".mp3", 0.99), (".mp3", 0.96)],
}


def clips(config, split):
    corpus = corpora.open_corpus(pathlib.Path(config.data.path), corpora.settings_of(config))
    for clip in corpus.clips.of_split(split).tolist():
        yield corpus.read(clip, 0, int(corpus.clips.samples[clip]))


def pcas(model):
    """PCA of the run's training split at several sizes, as trained models with the same coder."""
    config, representation = model.config, model.representation
    corpus = corpora.open_corpus(pathlib.Path(config.data.path), corpora.settings_of(config))
    frames = excerpt_blocks(config, representation) * config.model.downsampling
    batches = Batches(
        corpus,
        "train",
        excerpt=representation.samples(frames),
        batch_size=config.train.batch_size,
    )
    fitted = pca_fit.fit(
        batches,
        representation=representation,
        downsampling=config.model.downsampling,
        latent_dim=max(PCA_SIZES),
        place=Devices(config.train.batch_size).place,
    )
    sounds = list(clips(config, "train"))
    found = {}
    for size in PCA_SIZES:
        linear = as_model(model, fitted._replace(pca=fitted.pca.first(size)))
        # Latents have unit variance, so these are how strongly features react to each.
        steps = entropy_coding.steps_of(np.asarray(fitted.pca.deviations)[:size])
        statistics = entropy_coding.fit([linear.encode(audio) for audio in sounds], steps)
        found[f"PCA of {size}"] = compress.EntropyCodec(linear, statistics)
    return found


def as_model(model, fitted):
    """PCA as a trained model of the same features."""
    config = model.config.copy_and_resolve_references()
    config.name, config.model.encoder, config.model.bottleneck = "pca", "linear", "none"
    config.model.latent_dim = len(fitted.pca.components)
    linear = autoencoder.from_config(config.model, model.representation.bins)
    variables = autoencoder.init(linear, jax.random.key(0), config.model.downsampling)
    variables = autoencoder.standardise(variables, fitted.mean, fitted.scale)
    variables = autoencoder.limit(variables, fitted.pca.lowest, fitted.pca.highest)
    variables = autoencoder.start_at_pca(linear, variables, fitted.pca)
    return TrainedModel(config, model.representation, linear, variables)


def load(run):
    model = aejax.load(run)
    return model, compress.load(model, run)


# Bits at equal errors.


def rate_and_error(codec, sounds, scale):
    """kbit/s of the latents, and RMSE of the log-mel features, dB, of steps of that size."""
    size = seconds = squared = count = 0
    for audio in sounds:
        model = codec.model
        latents = model.encode(audio)[None]
        steps = codec.statistics.steps * scale
        integers = entropy_coding.quantise(latents, steps)
        size += len(entropy_coding.encode(integers, codec.frame_model(scale, 0)))
        seconds += len(audio) / model.sample_rate
        frames = latents.shape[1] * model.config.model.downsampling
        padded = np.zeros(model.representation.samples(frames), np.float32)
        padded[: len(audio)] = audio[: len(padded)]
        features = analyse(padded[None], representation=model.representation)
        back = autoencoder.decode(
            model.model,
            model.variables,
            entropy_coding.dequantise(integers, steps).astype(np.float32),
        )
        kept = model.representation.frames(len(audio))
        error = np.asarray(back - features)[:, :kept]
        squared, count = squared + np.square(error).sum(), count + error.size
    return size * 8e-3 / seconds, float(np.sqrt(squared / count))


def curve(codec, sounds):
    """Rates, rising, and the errors there, ``[steps, 2]``."""
    scales = 2.0 ** np.arange(-5, 5.1, 0.5)
    return np.asarray([rate_and_error(codec, sounds, scale) for scale in scales])[::-1]


def error_at(found, rate):
    """The error of a curve at a rate."""
    return float(np.interp(np.log(rate), np.log(found[:, 0]), found[:, 1]))


def best_at(curves, rate):
    """Which of several curves has the least error at a rate."""
    return min(curves, key=lambda name: error_at(curves[name], rate))


def bits_at_equal_error(ours, theirs, chosen):
    """Prints, at some rates, the error of that of our curves which was chosen for it, and how many
    bits the best of theirs takes for the same."""
    print("| kbit/s of latents | log-mel RMSE (dB) | PCA at that error (kbit/s) | fewer bits by |")
    print("|---|---|---|---|")
    for rate in (0.5, *RATES):
        name = chosen[rate]
        error = error_at(ours[name], rate)
        able = {
            other: float(np.exp(np.interp(-error, -found[:, 1], np.log(found[:, 0]))))
            for other, found in theirs.items()
            if found[:, 1].min() <= error
        }
        if not able:
            print(f"| {rate:g} ({name}) | {error:.2f} | none comes so near | |")
            continue
        best = min(able, key=able.get)
        saved = 1 - rate / able[best]
        print(f"| {rate:g} ({name}) | {error:.2f} | {able[best]:.2f} ({best}) | {saved:.0%} |")


# What is heard.


def stft_distance(estimate, reference):
    """The multi-scale STFT distance of descript-audio-codec 1.0.0 (dac/nn/loss.py): windows of 2048
    and 512 samples, magnitudes, and their squares' base-10 logarithms down to 1e-5."""
    total = 0.0
    for window in (2048, 512):
        ours, theirs = (
            np.abs(scipy.signal.stft(x, nperseg=window, noverlap=window * 3 // 4)[2])
            * (window / 2)  # unscaled, as torch does it
            for x in (estimate, reference)
        )
        logs = [2 * np.log10(np.maximum(x, 1e-5)) for x in (ours, theirs)]
        total += np.abs(logs[0] - logs[1]).mean() + np.abs(ours - theirs).mean()
    return float(total)


def measure(estimate, reference, rate):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (
            float(signal.dac_mel(estimate, reference, sample_rate=rate)),
            stft_distance(estimate, reference),
            float(signal.si_sdr(estimate[None], reference[None])[0]),
            pesq(rate, reference, estimate, "wb"),
            stoi(reference, estimate, rate),
        )


def aligned(estimate, reference, most=4000):
    """As long as the reference, and as early or late."""
    size = len(reference) + len(estimate)
    product = np.fft.irfft(
        np.fft.rfft(estimate, size) * np.conj(np.fft.rfft(reference, size)), size
    )
    lags = np.concatenate([np.arange(most), np.arange(-most, 0)])
    lag = int(lags[np.argmax(np.abs(product[lags]))])
    moved = estimate[lag:] if lag >= 0 else np.pad(estimate, (-lag, 0))
    return np.pad(moved, (0, max(0, len(reference) - len(moved))))[: len(reference)]


def through_libsndfile(audio, rate, suffix, level, folder):
    path = folder / f"clip{suffix}"
    container, encoding = ("MP3", "MPEG_LAYER_III") if suffix == ".mp3" else ("OGG", "OPUS")
    constant = {"bitrate_mode": "CONSTANT"} if suffix == ".mp3" else {}
    soundfile.write(
        path,
        audio,
        rate,
        format=container,
        subtype=encoding,
        compression_level=level,
        **constant,
    )
    size = path.stat().st_size
    back = soundfile.read(path, dtype="float32")[0]
    return size, aligned(back, audio)


def through_model(codec, audio, rate, kbps, folder):
    for name in ("in.wav", "clip.aej", "out.wav"):
        (folder / name).unlink(missing_ok=True)
    soundfile.write(folder / "in.wav", audio, rate, subtype="FLOAT")
    compress.compress(codec, folder / "in.wav", folder / "clip.aej", kbps)
    compress.decompress(codec, folder / "clip.aej", folder / "out.wav")
    back = soundfile.read(folder / "out.wav", dtype="float32")[0]
    return (folder / "clip.aej").stat().st_size, back


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory() as place:
        yield pathlib.Path(place)


def compare(runs, count=12):
    """Prints bits at equal errors, then what is heard at some rates, then how fast it is; at each
    rate, of that of the ``runs`` which is the best on validation clips, and of that PCA which is
    the best on the test clips themselves."""
    loaded = {run.name: load(run) for run in runs}
    model = next(iter(loaded.values()))[0]
    ours, linear = {name: codec for name, (_, codec) in loaded.items()}, pcas(model)
    rate, sounds = model.sample_rate, list(clips(model.config, "test"))
    picked = np.linspace(0, len(sounds) - 1, min(count, len(sounds))).round().astype(int)
    sounds = [sounds[place] for place in picked]
    seconds = sum(map(len, sounds)) / rate
    print(f"{len(sounds)} test clips, {seconds:.0f} s, at {rate} Hz\n")
    curves = [
        {name: curve(codec, sounds) for name, codec in every.items()} for every in (ours, linear)
    ]
    known = list(clips(model.config, "validation"))
    known = {name: curve(codec, known) for name, codec in ours.items()}
    chosen = {rate: best_at(known, rate) for rate in (0.5, *RATES)}
    bits_at_equal_error(*curves, chosen)
    print("\n| | kbit/s on disk | 1/ of 16-bit PCM | " + " | ".join(MEASURES) + " |")
    print("|---|---|---|" + "---|" * len(MEASURES))
    with folder() as place:

        def row(name, way):
            sizes, found = 0, []
            for audio in sounds:
                size, back = way(audio)
                sizes += size
                found.append(measure(back, audio, rate))
            means = np.mean(found, 0)
            shown = " | ".join(f"{x:.3f}" if abs(x) < 1 else f"{x:.2f}" for x in means)
            on_disk = sizes * 8e-3 / seconds
            print(
                f"| {name} | {on_disk:.2f} | {16e-3 * rate / on_disk:.0f} | {shown} |", flush=True
            )

        for kbps in RATES:
            for every, name in ((ours, chosen[kbps]), (linear, best_at(curves[1], kbps))):
                row(
                    f"{name}, --kbps={kbps:g}",
                    lambda audio, c=every[name], k=kbps: through_model(c, audio, rate, k, place),
                )
        for name, ways in PEERS.items():
            for suffix, level in ways:
                row(
                    name,
                    lambda audio, s=suffix, v=level: through_libsndfile(audio, rate, s, v, place),
                )
    print(f"\n{speed(runs[0])}")


def speed(run):
    """Real-time factors on one core, in a process that may use no other."""
    code = f"import sys; sys.path[:0] = {sys.path!r}; import task_compress; "
    found = subprocess.run(
        [sys.executable, "-c", code + f"task_compress.timed({str(run)!r})"],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {0}),
    )
    times = json.loads(found.stdout.splitlines()[-1])
    return "on one core, times real time: " + ", ".join(f"{k} {v:.0f}" for k, v in times.items())


def timed(run, repeats=3):
    """Seconds of sound over seconds of work, once everything is compiled."""
    run = pathlib.Path(run)
    model = aejax.load(run)
    codec = compress.load(model, run)
    audio = np.concatenate(list(clips(model.config, "test")))[: 60 * model.sample_rate]
    seconds = len(audio) / model.sample_rate

    def rate_of(work):
        work()
        best = []
        for _ in range(repeats):
            begin = time.perf_counter()
            work()
            best.append(time.perf_counter() - begin)
        return seconds / sorted(best)[repeats // 2]

    steps = codec.statistics.steps * 0.5
    integers = entropy_coding.quantise(model.encode(audio)[None], steps)
    payload = entropy_coding.encode(integers, codec.frame_model(0.5, 0))

    def encode():
        found = entropy_coding.quantise(model.encode(audio)[None], steps)
        entropy_coding.encode(found, codec.frame_model(0.5, 0))

    def integers_back():
        found = entropy_coding.decode(payload, *integers.shape, codec.frame_model(0.5, 0))
        return entropy_coding.dequantise(found, steps).astype(np.float32)

    def decode_features():
        given = integers_back()
        for window, _ in model._decoding.over(given.shape[1]):
            np.asarray(model._decoded(given, window))

    def decode():
        for _ in model.decode_stream(integers_back()):
            pass

    print(
        json.dumps(
            {
                "encoding": rate_of(encode),
                "decoding to log-mel": rate_of(decode_features),
                "decoding to sound": rate_of(decode),
            }
        )
    )
