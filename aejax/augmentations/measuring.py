"""What is drawn at random where a model is measured: by the window alone, never by its batch."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from aejax.augmentations import Noise

# Of the keys by which models are measured; no run's own.
_MEASURING = 0x6D656173


def window_keys(
    clip: Int[Array, " batch"], start: UInt32[Array, " batch"], use: int
) -> Key[Array, " batch"]:
    """A key for each window that a model is measured on, by its clip and first sample alone: what
    is drawn for it does not depend on the batch that it is in, and is the same each time.

    Args:
      clip: its index in the corpus.
      start: its first sample, modulo 2**32.
      use: what is drawn: another number, other draws.
    """
    key = jax.random.fold_in(jax.random.key(_MEASURING), use)

    def of_window(clip: Array, start: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, clip), start)

    return jax.vmap(of_window)(clip.astype(jnp.uint32), start)


# What `window_keys` are used for.
NOISE_USE, LATENTS_USE = 0, 1


@functools.partial(jax.jit, static_argnames="noise")
def add_test_noise(
    batch: Mapping[str, Array], *, noise: Noise | None
) -> Float[Array, "batch samples *channels"]:
    """What a model hears where it is measured, of a batch that it is to give back: all of it with
    noise, if there is any that it is to take away; each window's own (`window_keys`)."""
    audio, length, recorded = batch["audio"], batch["length"], batch.get("noise")
    if noise is None:
        return audio

    def of_window(key: Array, audio: Array, length: Array, recorded: Array | None) -> Array:
        shape_key, level_key = jax.random.split(key)
        row = None if recorded is None else recorded[None]
        keys = shape_key, level_key
        return noise.add(keys, audio[None], length[None], row, always=True)[0]

    keys = window_keys(batch["clip"], batch["start"], NOISE_USE)
    return jax.vmap(of_window)(keys, audio, length, recorded)
