"""Batches of audio as mono rows, silent after the end of each clip."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from aejax.signal.distances import si_sdr

# Variance up to which a row counts as silent, -60 dB re full scale.
_INAUDIBLE = 1e-6


def until_end(
    audio: Float[Array, "batch samples *channels"], length: Int[Array, " batch"]
) -> Float[Array, "batch samples *channels"]:
    """Audio with silence after the first ``length`` samples of each clip."""
    valid = jnp.arange(audio.shape[1])[None] < length[:, None]
    return jnp.where(valid.reshape(*valid.shape, *[1] * (audio.ndim - 2)), audio, 0.0)


def channel_rows(
    audio: Float[Array, "batch samples *channels"], length: Int[Array, " batch"]
) -> tuple[Float[Array, "rows samples"], Int[Array, " rows"]]:
    """Each channel of each clip as a row, silent after the clip's end, and the length of each row.

    Args:
      audio: a batch of mono clips, or of clips of several channels.
      length: samples of each clip before its end.
    """
    audio = until_end(audio, length)
    if audio.ndim == 2:
        return audio, length
    rows = jnp.moveaxis(audio, 2, 1).reshape(-1, audio.shape[1])
    return rows, jnp.repeat(length, audio.shape[2])


def channel_si_sdr(
    estimate: Float[Array, "batch samples *channels"],
    reference: Float[Array, "batch samples *channels"],
    length: Int[Array, " batch"],
) -> tuple[Float[Array, " rows"], Bool[Array, " rows"]]:
    """SI-SDR in dB of each channel up to the end of its clip, and whether the reference has sound.

    ``loss.si_sdr`` and the results table use its mean over channels with sound. Each channel has
    its own scale, so the balance of channels does not matter.

    Args:
      estimate, reference: a batch of audio.
      length: samples of each clip before its end.
    """
    (estimate, ends), (reference, _) = (channel_rows(x, length) for x in (estimate, reference))
    size = jnp.maximum(ends, 1).astype(reference.dtype)
    mean_square = jnp.square(reference).sum(1) / size
    variance = mean_square - jnp.square(reference.sum(1) / size)
    return si_sdr(estimate, reference, length=ends), variance > _INAUDIBLE
