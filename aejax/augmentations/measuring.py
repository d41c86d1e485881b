"""Random draws in evaluation: they depend on the window alone, never on its batch."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from aejax.augmentations import Noise

# Seed of evaluation, the same for all runs.
_MEASURING = 0x6D656173


def window_keys(
    clip: Int[Array, " batch"], start: UInt32[Array, " batch"], use: int
) -> Key[Array, " batch"]:
    """A random key for each evaluated window, from its clip and first sample alone: draws do not
    depend on the batch, and are the same each time.

    Args:
      clip: index in the corpus.
      start: first sample, modulo 2**32.
      use: number of the purpose; each has its own draws.
    """
    key = jax.random.fold_in(jax.random.key(_MEASURING), use)

    def of_window(clip: Array, start: Array) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, clip), start)

    return jax.vmap(of_window)(clip.astype(jnp.uint32), start)


# Purposes of `window_keys`.
NOISE_USE, LATENTS_USE = 0, 1


@functools.partial(jax.jit, static_argnames="noise")
def add_test_noise(
    batch: Mapping[str, Array], *, noise: Noise | None
) -> Float[Array, "batch samples *channels"]:
    """The audio of an evaluation batch with noise added, by keys of each window (`window_keys`);
    without ``noise``, the audio as it is."""
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
