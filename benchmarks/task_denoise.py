"""Noise removed by a trained model, against spectral gating and a Wiener filter.

Speech of speakers and noise of files that the run has kept for its test split, mixed at five
signal-to-noise ratios (mean power over mean power). Each mixture begins with half a second of its
noise alone, from which the Wiener filter knows it; what is measured comes after it.
"""

import pathlib
import statistics
import warnings

import noisereduce
import numpy as np
import scipy.signal
from pesq import pesq
from pystoi import stoi

import aejax
from aejax import corpora, signal

RATE = 16_000
RATIOS = (-5, 0, 5, 10, 15)
LEAD = RATE // 2
MOST = 8 * RATE  # samples of speech in a mixture
FRAMES = {"nperseg": 512, "noverlap": 384}
MEASURES = ("SI-SDR (dB)", "PESQ", "STOI", "LSD (dB)")


def si_sdr(estimate, reference):
    return float(signal.si_sdr(estimate[None], reference[None])[0])


def log_spectral_distance(estimate, reference):
    """Root mean square over bins of the difference in dB, mean over frames; power below -60 dB of
    the reference's loudest bin counts as that (Gray and Markel, 1976, equation 8, of the STFT)."""
    powers = [np.abs(scipy.signal.stft(x, **FRAMES)[2]) ** 2 for x in (estimate, reference)]
    floor = powers[1].max() * 1e-6
    ours, theirs = (10 * np.log10(np.maximum(power, floor)) for power in powers)
    return float(np.sqrt(np.square(ours - theirs).mean(0)).mean())


def measure(estimate, reference):
    """SI-SDR, PESQ (wide band), STOI and LSD."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pystoi, of clips with little speech
        return (
            si_sdr(estimate, reference),
            pesq(RATE, reference, estimate, "wb"),
            stoi(reference, estimate, RATE),
            log_spectral_distance(estimate, reference),
        )


def wiener(noisy, noise, smoothing=0.98, least=0.06):
    """A Wiener filter of known stationary noise, its a priori ratio found decision-directed
    (Ephraim and Malah, 1984, equation 51; Scalart and Filho, 1996)."""
    known = (np.abs(scipy.signal.stft(noise, **FRAMES)[2]) ** 2).mean(1)
    spectrum = scipy.signal.stft(noisy, **FRAMES)[2]
    posterior = np.abs(spectrum) ** 2 / np.maximum(known, 1e-12)[:, None]
    gains, before = np.empty(spectrum.shape), np.ones(len(known))
    for frame, now in enumerate(posterior.T):
        prior = smoothing * before + (1 - smoothing) * np.maximum(now - 1, 0)
        gain = np.maximum(prior / (1 + prior), least)
        gains[:, frame], before = gain, gain**2 * now
    return scipy.signal.istft(spectrum * gains, **FRAMES)[1][: len(noisy)]


def mixtures(config, clips):
    """(clean, noisy, ratio in dB), each with `LEAD` samples of noise before the speech."""
    corpus = corpora.open_corpus(pathlib.Path(config.data.path), corpora.settings_of(config))
    noise = corpora.open_noise(config)
    speech = corpus.clips.of_split("test")
    noises = noise.clips.of_split("test")
    speech = speech[np.linspace(0, len(speech) - 1, min(clips, len(speech))).round().astype(int)]
    for place, clip in enumerate(speech.tolist()):
        samples = min(int(corpus.clips.samples[clip]), MOST)
        clean = np.pad(corpus.read(clip, 0, samples), (LEAD, 0))
        for ratio in RATIOS:
            other = int(noises[(place * len(RATIOS) + RATIOS.index(ratio)) % len(noises)])
            length = int(noise.clips.samples[other])
            added = np.resize(noise.read(other, 0, length), len(clean))
            wanted = np.square(clean[LEAD:]).mean() / 10 ** (ratio / 10)
            added = added * np.sqrt(wanted / max(np.square(added[LEAD:]).mean(), 1e-12))
            yield clean, (clean + added).astype(np.float32), ratio


def ways(runs):
    found = {
        "nothing": lambda noisy: noisy,
        "spectral gating": lambda noisy: noisereduce.reduce_noise(noisy, RATE),
        "gating, noise known": lambda noisy: noisereduce.reduce_noise(
            noisy, RATE, y_noise=noisy[:LEAD], stationary=True
        ),
        "Wiener filter": lambda noisy: wiener(noisy, noisy[:LEAD]),
    }
    models = {path.name: aejax.load(path) for path in runs}
    return found | {name: model.denoise for name, model in models.items()}


def compare(runs, clips=20):
    """Prints means by way and ratio; ``runs``: finished, of one corpus at 16 kHz."""
    config = aejax.load(runs[0]).config
    assert config.data.sample_rate == RATE
    every = ways(runs)
    found = {name: {ratio: [] for ratio in RATIOS} for name in every}
    for clean, noisy, ratio in mixtures(config, clips):
        for name, way in every.items():
            estimate = np.asarray(way(noisy), np.float32)
            found[name][ratio].append(measure(estimate[LEAD:], clean[LEAD:]))
    count = len(found["nothing"][0])
    print(f"speech of unseen speakers, unseen noise, {count} mixtures at each ratio; means")
    print("| SNR (dB) | | " + " | ".join(MEASURES) + " |")
    print("|---|---|" + "---|" * len(MEASURES))
    for ratio in RATIOS:
        for name in every:
            means = [statistics.fmean(column) for column in zip(*found[name][ratio], strict=True)]
            shown = [f"{means[0]:.1f}", f"{means[1]:.2f}", f"{means[2]:.3f}", f"{means[3]:.1f}"]
            print(f"| {ratio} | {name} | " + " | ".join(shown) + " |")
    return found
