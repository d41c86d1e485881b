"""Sounds that begin and end as hard as sounds can, and how loud they come back.

python tests/loud_sounds.py RUN
"""

import pathlib
import sys

import numpy as np
import scipy.signal
import soundfile

LEVELS_DB = (0.0, -20.0, -40.0)
# Of what comes back, over what went in.
MOST = 1.5
SPEECH = pathlib.Path(__file__).parents[2] / "shared" / "audio" / "data" / "speech"


def loud_sounds(sample_rate, seconds=0.3):
    """By name, ``[samples]`` with a peak of 1: as long a sound, with as much silence around it."""
    samples = int(seconds * sample_rate)
    time = np.arange(samples) / sample_rate
    rng = np.random.default_rng(0)
    sounds = {
        f"{hz} Hz": np.cos(2 * np.pi * hz * time) for hz in (110, 440, 1000, 0.4 * sample_rate)
    }
    sounds["square"] = np.where(time * 200 % 1 < 0.5, 1.0, -1.0)
    sounds["clicks"] = (np.arange(samples) % (samples // 3) == 0).astype(float)
    sounds["noise"] = rng.uniform(-1, 1, samples)
    sounds["vowel"] = vowel(samples, sample_rate)
    recordings = sorted(SPEECH.rglob("*.flac")) if SPEECH.is_dir() else []
    if recordings:
        audio, rate = soundfile.read(recordings[0], always_2d=True)
        middle = np.abs(audio[:, 0]).argmax()  # of a vowel
        audio = audio[middle : middle + int(seconds * rate), 0]
        sounds["speech"] = scipy.signal.resample_poly(audio, sample_rate, rate)[:samples]
    around = np.zeros(samples)
    return {
        name: np.concatenate([around, sound / np.abs(sound).max(), around]).astype(np.float32)
        for name, sound in sounds.items()
    }


def vowel(samples, sample_rate):
    """Pulses of 120 Hz through the resonances of an open vowel."""
    sound = (np.arange(samples) % int(sample_rate / 120) == 0).astype(float)
    for hz, width in ((700, 80), (1200, 90), (2500, 120)):
        radius = np.exp(-np.pi * width / sample_rate)
        angle = 2 * np.pi * hz / sample_rate
        sound = scipy.signal.lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], sound)
    return sound


def peaks(model):
    """How loud each sound comes back through a model, over how loud it is, by name and level."""
    found = {}
    for name, sound in loud_sounds(model.sample_rate).items():
        for level in LEVELS_DB:
            audio = sound * np.float32(10 ** (level / 20))
            if model.channels == 2:
                audio = np.stack([audio, audio], axis=-1)
            back = model.reconstruct(audio)
            found[name, level] = float(np.abs(back).max() / np.abs(audio).max())
    return found


if __name__ == "__main__":
    import aejax

    ratios = peaks(aejax.load(sys.argv[1]))
    for (name, level), ratio in ratios.items():
        print(f"{name} at {level:g} dB: {ratio:.2f}")
    sys.exit(max(ratios.values()) > MOST)
