"""Metrics of results. Each has one definition, one unit, one source.

All are computed from sums over frames, divided once at the end, so that short last batches and
masked frames count right.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


class ErrorSums(NamedTuple):
    """Sums over the valid frames.

    Attributes:
      frames: how many.
      squared_error: of output minus reference, ``[bins]``, in the features' unit squared.
      value: of the reference, ``[bins]``, in the features' unit.
      squared_value: of the reference, ``[bins]``, in that unit squared.
    """

    frames: Array | np.ndarray
    squared_error: Array | np.ndarray
    value: Array | np.ndarray
    squared_value: Array | np.ndarray


def error_sums(
    output: Float[Array, "batch frames bins"],
    reference: Float[Array, "batch frames bins"],
    mask: Bool[Array, "batch frames"],
    centre: Float[Array, " bins"],
) -> ErrorSums:
    """The sums of one batch. ``centre`` is subtracted from values, to keep their squares small."""
    weight = mask.astype(reference.dtype)[..., None]
    value = (reference - centre[None, None]) * weight
    axes = (0, 1)
    return ErrorSums(
        frames=weight.sum(),
        squared_error=(jnp.square(output - reference) * weight).sum(axes),
        value=value.sum(axes),
        squared_value=jnp.square(value).sum(axes),
    )


def row_sums(
    output: Float[Array, "batch frames bins"],
    reference: Float[Array, "batch frames bins"],
    mask: Bool[Array, "batch frames"],
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Valid frames of each row, and their squared error: the sum over frames and mean over bins, in
    the features' unit squared."""
    weight = mask.astype(reference.dtype)
    return weight.sum(1), (jnp.square(output - reference).mean(-1) * weight).sum(1)


def add(total: ErrorSums | None, batch: ErrorSums) -> ErrorSums:
    """Adds a batch's sums to a total, in float64 on the host."""
    sums = ErrorSums(*(np.asarray(x, np.float64) for x in batch))
    if total is None:
        return sums
    return ErrorSums(*(x + y for x, y in zip(total, sums, strict=True)))


def rmse(sums: ErrorSums) -> float:
    """Root of the mean, over frames and bins, of the squared difference, in the features' unit.

    Of features in dB it is a log-spectral distance (Gray and Markel, IEEE ASSP 24(5), 1976), with
    one root over all frames; of log-mel spectra ``10 log10(max(mel power, floor))``, on mel bands.
    """
    return float(np.sqrt(sums.squared_error.sum() / (sums.frames * sums.squared_error.size)))


def explained_variance(sums: ErrorSums) -> float | None:
    """Explained variance, no unit, 1 at best: ``1 - sum (x - y)² / sum (x - mean x)²``, the mean
    of each bin over all frames; ``sklearn.metrics.r2_score(multioutput="variance_weighted")``.
    None where the reference has no variance: pure silence.
    """
    spread = (sums.squared_value - np.square(sums.value) / sums.frames).sum()
    return float(1 - sums.squared_error.sum() / spread) if spread > 0 else None


def gain_db(rmse: float, reference_rmse: float) -> float | None:
    """Gain over a reference (PCA) in dB: ``20 log10(reference RMSE / RMSE)``; above 0 is better.

    None where either is exactly 0.
    """
    if rmse == 0 or reference_rmse == 0:
        return None
    return float(20 * np.log10(reference_rmse / rmse))


def code_metrics(counts: np.ndarray, sizes: tuple[int, ...], rate: float) -> dict[str, float]:
    """Bit rate and codebook usage of codes.

    Args:
      counts: how often each code occurred, ``[codebooks, entries]``.
      sizes: of the codebooks.
      rate: latent frames per second.

    Returns:
      ``bits_per_second``: capacity of all codes, ``rate * sum log2 size``;
      ``codebook_utilisation``: part of the entries that occur, the mean over codebooks;
      ``perplexity``: ``2 ** entropy`` of each codebook's codes by themselves, the mean over
      codebooks; ``bitrate_efficiency``: the sum of those entropies over the sum of ``log2 size``.
    """
    entropies, used = [], []
    for count, size in zip(counts, sizes, strict=True):
        share = count[count > 0] / count.sum()
        entropies.append(float(-(share * np.log2(share)).sum()) + 0.0)
        used.append(len(share) / size)
    capacity = float(np.log2(sizes).sum())
    return {
        "bits_per_second": rate * capacity,
        "codebook_utilisation": float(np.mean(used)),
        "perplexity": float(np.mean(np.exp2(entropies))),
        "bitrate_efficiency": sum(entropies) / capacity,
    }
