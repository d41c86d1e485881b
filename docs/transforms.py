"""What `aejax.signal` does by itself: the picture of the README.

    python docs/transforms.py docs/transforms.png

A melody of plucked strings is analysed, reduced to 80 mel bands, and brought back to sound.
"""

import sys

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  after the choice of a backend without a screen

from aejax import signal  # noqa: E402

RATE = 16000
SIZES = {"n_fft": 1024, "hop_length": 256}


def melody(seconds: float = 0.5) -> jax.Array:
    """Five plucked notes: harmonics that die away, the higher the faster."""
    time = jnp.arange(int(seconds * RATE))[None] / RATE
    harmonics = jnp.arange(1.0, 16.0)[:, None]
    decay = jnp.exp(-3 * time * harmonics**0.5) / harmonics
    notes = [(decay * jnp.sin(2 * jnp.pi * hz * harmonics * time)).sum(0) for hz in NOTES]
    return 0.2 * jnp.concatenate(notes)


NOTES = (220.0, 277.2, 329.6, 440.0, 554.4)


def main() -> None:
    """Writes the picture to the path that is given."""
    x = melody()
    mel = signal.mel_spectrogram(x, sample_rate=RATE, n_mels=80, **SIZES)
    linear = signal.mel_to_linear(mel, sample_rate=RATE, n_fft=SIZES["n_fft"])
    y = signal.griffin_lim(jnp.sqrt(linear), **SIZES)

    def decibels(x: jax.Array) -> jax.Array:
        return signal.power_to_db(signal.spectrogram(x, **SIZES), top_db=80.0)

    figure, axes = plt.subplots(2, 2, figsize=(10, 5.5), layout="constrained")
    seconds = len(x) / RATE
    pictures = (
        (decibels(x), "spectrogram, 513 bins", RATE / 2000, "kHz"),
        (signal.power_to_db(mel, top_db=80.0), "mel_spectrogram, 80 bands", 80, "mel band"),
        (decibels(y), "from those bands: mel_to_linear, griffin_lim", RATE / 2000, "kHz"),
    )
    for axis, (picture, title, top, unit) in zip(axes.flat[:3], pictures, strict=True):
        image = axis.imshow(
            picture.T - picture.max(), origin="lower", aspect="auto", extent=(0, seconds, 0, top)
        )
        axis.set(title=title, xlabel="s", ylabel=unit)
        figure.colorbar(image, ax=axis, label="dB")
    magnitude = signal.spectrogram(x, **SIZES, power=1.0)
    for momentum, label in ((0.0, "plain"), (0.99, "fast, the default")):
        _, error = signal.griffin_lim(
            magnitude, **SIZES, momentum=momentum, num_iterations=64, return_convergence=True
        )
        axes[1, 1].semilogy(error, label=label)
    axes[1, 1].set(title="griffin_lim: spectral convergence", xlabel="iteration")
    axes[1, 1].grid(alpha=0.3)
    axes[1, 1].legend()
    figure.savefig(sys.argv[1], dpi=80)


if __name__ == "__main__":
    main()
