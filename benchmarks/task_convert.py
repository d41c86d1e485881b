"""Voices converted by a trained model: who is heard, what is said, and how near the target it is.

Spoken digits (FSDD): classifiers on MFCCs, fitted to real clips of the run's training split alone,
say who speaks in converted clips of the test split, and which digit. Parallel sentences (VCTK): the
mel-cepstral distance from the target speaker's own reading, along the best alignment in time.
"""

import itertools
import pathlib

import librosa
import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import aejax
from aejax import corpora

FRAMES = 20  # to which digits are stretched


def mfcc(audio, rate):
    """``[frames, 20]``, without the level; silence at either end is left out."""
    audio, _ = librosa.effects.trim(audio, top_db=30)
    found = librosa.feature.mfcc(
        y=audio, sr=rate, n_mfcc=21, n_fft=rate // 25, hop_length=rate // 100, n_mels=40
    )
    return found[1:].T


class Speakers:
    """Who speaks, by how likely frames are under a mixture of Gaussians for each speaker (Reynolds
    and Rose, 1995)."""

    def __init__(self, speakers, cepstra):
        self.mixtures = {}
        for who in sorted(set(speakers)):
            frames = [one for name, one in zip(speakers, cepstra, strict=True) if name == who]
            mixture = GaussianMixture(32, covariance_type="diag", random_state=0, reg_covar=1e-3)
            self.mixtures[who] = mixture.fit(np.concatenate(frames))

    def __call__(self, cepstra):
        return max(self.mixtures, key=lambda who: self.mixtures[who].score(cepstra))


def about_digit(cepstra):
    """Whatever the length, and with mean and variance of each coefficient made equal (Viikki and
    Laurila, 1998)."""
    place = np.linspace(0, len(cepstra) - 1, FRAMES)
    before = np.floor(place).astype(int)
    after = np.minimum(before + 1, len(cepstra) - 1)
    part = (place - before)[:, None]
    stretched = (1 - part) * cepstra[before] + part * cepstra[after]
    normal = (stretched - cepstra.mean(0)) / np.maximum(cepstra.std(0), 1e-3)
    return normal[:, :13].ravel()


def digits(run):
    """Prints how often the target speaker and the same digit are heard."""
    model = aejax.load(run)
    config, rate = model.config, model.sample_rate
    corpus = corpora.open_corpus(pathlib.Path(config.data.path), corpora.settings_of(config))

    def clips(split):
        for clip in corpus.clips.of_split(split).tolist():
            name = pathlib.PurePath(corpus.clips.name(clip))
            audio = corpus.read(clip, 0, int(corpus.clips.samples[clip]))
            yield name.parts[0], name.stem[0], audio

    train = [(who, what, mfcc(audio, rate)) for who, what, audio in clips("train")]
    speakers, spoken, cepstra = zip(*train, strict=True)
    hear_who = Speakers(speakers, cepstra)
    hear_what = make_pipeline(StandardScaler(), SVC(C=10))
    hear_what.fit([about_digit(one) for one in cepstra], spoken)

    def heard(audio):
        found = mfcc(audio, rate)
        return hear_who(found), hear_what.predict([about_digit(found)])[0]

    real, back, kept, turned = [], [], [], []
    table = {}
    for who, what, audio in clips("test"):
        real.append(np.equal(heard(audio), (who, what)))
        for target in model.speakers:
            found = heard(model.reconstruct(audio, speaker=target))
            if target == who:
                back.append(np.equal(found, (who, what)))
                continue
            turned.append(np.equal(found, (target, what)))
            kept.append(found[0] == who)
            table.setdefault((who, target), []).append(turned[-1])
    print(
        f"spoken digits of {len(model.speakers)} speakers, {len(real)} test clips,"
        f" {len(turned)} converted"
    )
    print("| | speaker | digit |")
    print("|---|---|---|")
    for name, found in (("real", real), ("as the same speaker", back), ("converted", turned)):
        print(f"| {name} | {np.mean(found, 0)[0]:.1%} | {np.mean(found, 0)[1]:.1%} |")
    print(f"the source is still heard in {np.mean(kept):.1%}")
    for (who, target), found in table.items():
        print(f"  {who} to {target}: {np.mean(found, 0)[0]:.0%} {np.mean(found, 0)[1]:.0%}")


def cepstral_distance(one, other, rate):
    """Mel-cepstral distortion, dB: 10 / ln 10 times the root of twice the squared distance of
    coefficients 1 to 12 (Kubichek, 1993), mean along the path of dynamic time warping."""

    def cepstra(audio):
        audio, _ = librosa.effects.trim(audio, top_db=30)
        mel = librosa.feature.melspectrogram(
            y=audio, sr=rate, n_fft=1024, hop_length=rate // 100, n_mels=80
        )
        log = np.log(np.maximum(mel, 1e-6)) / 2  # of amplitudes
        return librosa.feature.mfcc(S=log, n_mfcc=13, norm="ortho")[1:] / np.sqrt(len(log) / 2)

    first, second = cepstra(one), cepstra(other)
    cost, path = librosa.sequence.dtw(first, second)
    distances = np.linalg.norm(first[:, path[:, 0]] - second[:, path[:, 1]], axis=0)
    return 10 / np.log(10) * np.sqrt(2) * float(distances.mean())


def sentences(run, pair=("vctk_p225", "vctk_p226")):
    """Prints how far converted and unconverted sentences are from the target's own."""
    model = aejax.load(run)
    config, rate = model.config, model.sample_rate
    corpus = corpora.open_corpus(pathlib.Path(config.data.path), corpora.settings_of(config))
    found, splits = {}, {}
    for clip in range(len(corpus.clips)):
        name = pathlib.PurePath(corpus.clips.name(clip))
        if name.parts[0] in pair:
            key = name.parts[0], name.stem.rpartition("_")[2]
            found[key] = corpus.read(clip, 0, int(corpus.clips.samples[clip]))
            splits[key] = corpus.clips[clip].split
    print("| from | to | sentences | unconverted (dB) | converted (dB) | of those unseen |")
    print("|---|---|---|---|---|---|")
    for source, target in itertools.permutations(pair):
        rows = []
        for (who, number), audio in found.items():
            if who != source or (target, number) not in found:
                continue
            theirs = found[target, number]
            converted = model.reconstruct(audio, speaker=target)
            rows.append(
                (
                    cepstral_distance(audio, theirs, rate),
                    cepstral_distance(converted, theirs, rate),
                    splits[who, number] != "train",
                )
            )
        before, after, unseen = map(np.asarray, zip(*rows, strict=True))
        ours = (
            f"{before[unseen].mean():.2f} to {after[unseen].mean():.2f} ({unseen.sum()})"
            if unseen.any()
            else "-"
        )
        print(
            f"| {source} | {target} | {len(rows)} | {before.mean():.2f} | {after.mean():.2f}"
            f" | {ours} |"
        )
