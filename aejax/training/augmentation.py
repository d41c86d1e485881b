"""Changes to the training audio that its description should survive, drawn anew in each step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from aejax import signal

# How much softer than itself the excerpt is that another is mixed with, dB.
_SOFTEST_DB = -40.0


class Augmentation(NamedTuple):
    """How much of each kind: see ``config.train``.

    Attributes:
      gain_db: largest change of level.
      mix_probability: of having another excerpt mixed in.
    """

    gain_db: float
    mix_probability: float


def augment(
    key: jax.Array, audio: Float[Array, "batch samples"], amount: Augmentation
) -> Float[Array, "batch samples"]:
    """All augmentations, one after the other."""
    mix_key, gain_key = jax.random.split(key)
    mixed = random_mix(mix_key, audio, amount.mix_probability)
    return random_gain(gain_key, mixed, amount.gain_db)


def random_gain(
    key: jax.Array, audio: Float[Array, "batch samples"], gain_db: float
) -> Float[Array, "batch samples"]:
    """Each row louder or softer by up to ``gain_db``, uniform in dB."""
    gain = jax.random.uniform(key, (audio.shape[0], 1), minval=-gain_db, maxval=gain_db)
    return audio * signal.db_to_amplitude(gain)


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
