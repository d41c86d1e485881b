"""Metrics of the results table.

They are computed from sums over frames, divided once at the end, so that short last batches and
masked frames have the right weight.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


class ErrorSums(NamedTuple):
    """Sums over the valid frames.

    Attributes:
      frames: number of frames.
      squared_error: sum of ``(output - reference)²``, ``[bins]``, in the features' unit squared.
      value: sum of the reference, ``[bins]``, in the features' unit.
      squared_value: sum of its squares, ``[bins]``, in the features' unit squared.
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
    """The sums of one batch, of values minus ``centre``, which keeps squares small."""
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
    """Root mean squared error over frames and bins, in the features' unit.

    For features in dB it is a log-spectral distance (Gray and Markel, IEEE ASSP 24(5), 1976), with
    one root over all frames. Log-mel spectra are ``10 log10(max(mel power, floor))``.
    """
    return float(np.sqrt(sums.squared_error.sum() / (sums.frames * sums.squared_error.size)))


def explained_variance(sums: ErrorSums) -> float | None:
    """Explained variance, at most 1: ``1 - sum (x - y)² / sum (x - mean x)²``, mean of each bin
    over all frames, as in ``sklearn.metrics.r2_score(multioutput="variance_weighted")``. None
    if the reference has no variance (pure silence).
    """
    spread = (sums.squared_value - np.square(sums.value) / sums.frames).sum()
    return float(1 - sums.squared_error.sum() / spread) if spread > 0 else None


def gain_db(rmse: float, reference_rmse: float) -> float | None:
    """Gain over a reference (PCA) in dB: ``20 log10(reference RMSE / RMSE)``; above 0 is better.

    None if either is 0.
    """
    if rmse == 0 or reference_rmse == 0:
        return None
    return float(20 * np.log10(reference_rmse / rmse))


def code_metrics(counts: np.ndarray, sizes: tuple[int, ...], rate: float) -> dict[str, float]:
    """Bit rate and codebook usage of codes.

    Args:
      counts: number of occurrences of each code, ``[codebooks, entries]``.
      sizes: sizes of the codebooks.
      rate: latent frames per second.

    Returns:
      ``bits_per_second``: ``rate * sum(log2(size))``;
      ``codebook_utilisation``: fraction of entries that occur, averaged over codebooks;
      ``perplexity``: ``2 ** entropy`` of each codebook's codes, averaged over codebooks;
      ``bitrate_efficiency``: ``sum(entropy) / sum(log2(size))``.
    """
    entropies, used = [], []
    for count, size in zip(counts, sizes, strict=True):
        p = count[count > 0] / count.sum()
        entropies.append(float(-(p * np.log2(p)).sum()) + 0.0)  # + 0.0: no negative zero
        used.append(len(p) / size)
    capacity = float(np.log2(sizes).sum())
    return {
        "bits_per_second": rate * capacity,
        "codebook_utilisation": float(np.mean(used)),
        "perplexity": float(np.mean(np.exp2(entropies))),
        "bitrate_efficiency": sum(entropies) / capacity,
    }
