"""Reproducible random draws for evaluation: they depend on the window, not on its batch."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from aejax.augmentations import Noise

_SEED = 0x6D656173  # the same for all runs


def window_keys(
    clip: Int[Array, " batch"], start: UInt32[Array, " batch"], use: int
) -> Key[Array, " batch"]:
    """A random key for each window, the same in every evaluation.

    Args:
      clip: index of the window's clip in the corpus.
      start: first sample of the window, modulo 2**32.
      use: `NOISE_USE` or `LATENTS_USE`, so that their draws are independent.
    """
    key = jax.random.fold_in(jax.random.key(_SEED), use)

    def of_window(clip: Array, start: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, clip), start)

    return jax.vmap(of_window)(clip.astype(jnp.uint32), start)


# Purposes of `window_keys`.
NOISE_USE, LATENTS_USE = 0, 1


@functools.partial(jax.jit, static_argnames="noise")
def evaluation_input(
    batch: Mapping[str, Array], *, noise: Noise | None
) -> Float[Array, "batch samples *channels"]:
    """The encoder's input audio in evaluation; for denoising, with noise in every window."""
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
