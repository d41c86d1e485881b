"""Changes to the training audio that its description should survive, drawn anew in each step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax import signal

# How much softer than itself the excerpt is that another is mixed with, dB.
_SOFTEST_DB = -40.0
# Terms of a random filter's response: no finer than a third of the axis.
_COSINES = 6


class Augmentation(NamedTuple):
    """How much of each kind: see ``config.train``.

    Attributes:
      gain_db: largest change of level.
      filter_db: how uneven a random filter is.
      mix_probability: of having another excerpt mixed in.
    """

    gain_db: float
    filter_db: float
    mix_probability: float


def augment(
    key: jax.Array, audio: Float[Array, "batch samples"], amount: Augmentation
) -> Float[Array, "batch samples"]:
    """All augmentations, one after the other."""
    mix_key, filter_key, gain_key = jax.random.split(key, 3)
    audio = random_mix(mix_key, audio, amount.mix_probability)
    audio = random_filter(filter_key, audio, amount.filter_db)
    return random_gain(gain_key, audio, amount.gain_db)


def random_gain(
    key: jax.Array, audio: Float[Array, "batch samples"], gain_db: float
) -> Float[Array, "batch samples"]:
    """Each row louder or softer by up to ``gain_db``, uniform in dB."""
    gain = jax.random.uniform(key, (audio.shape[0], 1), minval=-gain_db, maxval=gain_db)
    return audio * signal.db_to_amplitude(gain)


def random_filter(
    key: jax.Array, audio: Float[Array, "batch samples"], filter_db: float
) -> Float[Array, "batch samples"]:
    """Each row through a smooth filter of its own, as another microphone or room would sound.

    The response in dB is a random cosine series along a logarithmic frequency axis, whose standard
    deviation over draws, averaged over the axis, is ``filter_db``. The filter has zero phase.
    """
    samples = audio.shape[-1]
    frequency = jnp.fft.rfftfreq(samples)  # 0 to 0.5 of the sample rate
    place = jnp.log1p(64 * frequency) / jnp.log1p(32.0)  # 0 to 1
    order = jnp.arange(1, _COSINES + 1, dtype=audio.dtype)
    cosines = jnp.cos(jnp.pi * order[:, None] * place[None])
    spread = filter_db * jnp.sqrt(2 / _COSINES)
    response_db = spread * jax.random.normal(key, (audio.shape[0], _COSINES)) @ cosines
    spectrum = jnp.fft.rfft(audio)
    response = signal.db_to_amplitude(response_db)
    return jnp.fft.irfft(
        jax.lax.complex(spectrum.real * response, spectrum.imag * response), samples
    )


def random_mix(
    key: jax.Array, audio: Float[Array, "batch samples"], probability: float
) -> Float[Array, "batch samples"]:
    """Each row with the next one added to it, with that probability, 0 to 40 dB softer than it is.

    New mixtures of known sounds: what a corpus of a few minutes lacks most.
    """
    choice_key, level_key = jax.random.split(key)
    shape = (audio.shape[0], 1)
    chosen = jax.random.bernoulli(choice_key, probability, shape)
    level = jax.random.uniform(level_key, shape, minval=_SOFTEST_DB, maxval=0.0)
    amount = jnp.where(chosen, signal.db_to_amplitude(level), 0.0)
    return audio + amount * jnp.roll(audio, 1, axis=0)
