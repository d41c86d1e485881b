"""Random draws for evaluation, which depend on the window alone and not on its batch."""

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
      clip: its index in the corpus.
      start: its first sample, modulo 2**32.
      use: `NOISE_USE` or `LATENTS_USE`, so that their draws are independent.
    """
    key = jax.random.fold_in(jax.random.key(_SEED), use)

    def of_window(clip: Array, start: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, clip), start)

    return jax.vmap(of_window)(clip.astype(jnp.uint32), start)


# What `window_keys` are used for.
NOISE_USE, LATENTS_USE = 0, 1


@functools.partial(jax.jit, static_argnames="noise")
def evaluation_input(
    batch: Mapping[str, Array], *, noise: Noise | None
) -> Float[Array, "batch samples *channels"]:
    """The encoder's input in evaluation: the audio of a batch, with noise in every window for a
    model that denoises."""
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
