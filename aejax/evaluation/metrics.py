"""Metrics of the results table.

They are computed from sums over frames, divided once at the end, so that short last batches and
masked frames have the right weight. Of the sums of all clips they are the metrics of the table, of
those of clips drawn with replacement its intervals.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


class Sums(NamedTuple):
    """Sums over the valid frames of each row of a batch, clip, or draw of clips.

    Attributes:
      frames: number of frames, ``[rows]``.
      squared_error: mean over bins of ``(output - reference)²``, in the features' unit squared,
        ``[rows]``.
      value: reference, ``[rows, bins]``, in the features' unit.
      squared_value: mean over bins of its squares, ``[rows]``.
      audio_frames, audio_squared_error: the same of log-mel spectrograms of the audio, in dB²,
        ``[rows]``.
      channels: number of channels of excerpts with sound, ``[rows]``.
      si_sdr: SI-SDR of these, in dB, ``[rows]``.
    """

    frames: np.ndarray
    squared_error: np.ndarray
    value: np.ndarray
    squared_value: np.ndarray
    audio_frames: np.ndarray
    audio_squared_error: np.ndarray
    channels: np.ndarray
    si_sdr: np.ndarray

    def total(self) -> "Sums":
        """The sums over all rows, as one row."""
        return Sums(*(x.sum(0, keepdims=True) for x in self))


def squared_errors(
    output: Float[Array, "batch frames bins"],
    reference: Float[Array, "batch frames bins"],
    mask: Bool[Array, "batch frames"],
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Valid frames of each row, and their squared error: the sum over frames and mean over bins, in
    the features' unit squared."""
    weight = mask.astype(reference.dtype)
    return weight.sum(1), (jnp.square(output - reference).mean(-1) * weight).sum(1)


def values(
    reference: Float[Array, "batch frames bins"],
    mask: Bool[Array, "batch frames"],
    centre: Float[Array, " bins"],
) -> tuple[Float[Array, "batch bins"], Float[Array, " batch"]]:
    """``value`` and ``squared_value`` of `Sums`, of values minus ``centre``, which keeps squares
    small."""
    weight = mask.astype(reference.dtype)[..., None]
    value = (reference - centre[None, None]) * weight
    return value.sum(1), jnp.square(value).mean(-1).sum(1)


def rmse(
    frames: Float[np.ndarray, " rows"], squared_error: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """Root mean squared error over frames and bins, in the features' unit.

    For features in dB it is a log-spectral distance (Gray and Markel, IEEE ASSP 24(5), 1976), with
    one root over all frames. Log-mel spectra are ``10 log10(max(mel power, floor))``.
    """
    return np.sqrt(_ratio(squared_error, frames))


def explained_variance(sums: Sums) -> Float[np.ndarray, " rows"]:
    """Explained variance, at most 1: ``1 - sum (x - y)² / sum (x - mean x)²``, mean of each bin
    over all frames, as in ``sklearn.metrics.r2_score(multioutput="variance_weighted")``. NaN
    if the reference has no variance (pure silence).
    """
    spread = sums.squared_value - _ratio(np.square(sums.value).mean(-1), sums.frames)
    return 1 - _ratio(sums.squared_error, spread)


def measures(sums: Sums) -> dict[str, Float[np.ndarray, " rows"]]:
    """The metrics of `Row` that are means over clips, NaN where there is none."""
    return {
        "feature_rmse": rmse(sums.frames, sums.squared_error),
        "audio_log_mel_rmse_db": rmse(sums.audio_frames, sums.audio_squared_error),
        "si_sdr_db": _ratio(sums.si_sdr, sums.channels),
        "explained_variance": explained_variance(sums),
    }


def gains_db(
    rmse: Float[np.ndarray, " rows"], reference_rmse: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """Gain over a reference (PCA) in dB: ``20 log10(reference RMSE / RMSE)``; above 0 is better.

    NaN if either is 0.
    """
    ratio = _ratio(reference_rmse, rmse)
    return 20 * np.log10(np.where(ratio > 0, ratio, np.nan))


def gain_db(rmse: float, reference_rmse: float) -> float | None:
    """`gains_db` of two numbers; None for NaN."""
    return number(gains_db(np.asarray([rmse]), np.asarray([reference_rmse]))[0])


def number(value: float) -> float | None:
    """A float of Python; None for NaN."""
    return None if np.isnan(value) else float(value)


def _ratio(
    above: Float[np.ndarray, " rows"], below: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """The quotient, NaN where the divisor is not above 0."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)


def bits_per_second(sizes: tuple[int, ...], rate: float) -> float:
    """Capacity of codes of these codebooks at ``rate`` latent frames per second."""
    return rate * float(np.log2(sizes).sum())


def code_metrics(counts: np.ndarray, sizes: tuple[int, ...], rate: float) -> dict[str, float]:
    """Bit rate and codebook usage of codes.

    Args:
      counts: number of occurrences of each code, ``[codebooks, entries]``.
      sizes: sizes of the codebooks.
      rate: latent frames per second.

    Returns:
      ``bits_per_second``: see `bits_per_second`;
      ``codebook_utilisation``: fraction of entries that occur, averaged over codebooks;
      ``perplexity``: ``2 ** entropy`` of each codebook's codes, averaged over codebooks;
      ``bitrate_efficiency``: ``sum(entropy) / sum(log2(size))``.
    """
    entropies, used = [], []
    for count, size in zip(counts, sizes, strict=True):
        p = count[count > 0] / count.sum()
        entropies.append(float(-(p * np.log2(p)).sum()) + 0.0)  # + 0.0: no negative zero
        used.append(len(p) / size)
    return {
        "bits_per_second": bits_per_second(sizes, rate),
        "codebook_utilisation": float(np.mean(used)),
        "perplexity": float(np.mean(np.exp2(entropies))),
        "bitrate_efficiency": sum(entropies) / float(np.log2(sizes).sum()),
    }
