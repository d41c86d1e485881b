"""95 % intervals of metrics: what other test clips, drawn like these, would have given.

The percentile bootstrap over clips (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 13). A metric is computed anew from the sums of every draw, never averaged over the metrics
of clips. Draws depend on the number of clips alone: the same run has the same intervals, and codecs
are compared on the same draws.
"""

import numpy as np
from jaxtyping import Float

RESAMPLES = 1000
LEVEL = 0.95
_MOST_DRAWN = 1 << 21  # clips drawn at a time, which bounds memory
_DIGITS = 6


def resampled(
    columns: Float[np.ndarray, "clips columns"],
) -> Float[np.ndarray, "resamples columns"]:
    """Sums of each column over as many clips, drawn with replacement, `RESAMPLES` times."""
    clips = len(columns)
    rng, at_once = np.random.default_rng(0), max(1, _MOST_DRAWN // clips)
    sums = []
    for first in range(0, RESAMPLES, at_once):
        draws = min(at_once, RESAMPLES - first)
        drawn = rng.integers(clips, size=(draws, clips)) + clips * np.arange(draws)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=draws * clips).reshape(draws, clips)
        sums.append(counts.astype(np.float64) @ columns)
    return np.concatenate(sums)


def interval(values: Float[np.ndarray, " resamples"]) -> list[float] | None:
    """The middle 95 % of a metric over draws, ``[low, high]``; None if it is the same in all, or if
    most draws have none (NaN)."""
    known = values[~np.isnan(values)]
    if len(known) < len(values) / 2:
        return None
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(known, [tail, 100 - tail])
    # Rounded, since the last digits of sums depend on the machine.
    ends = [float(f"{x:.{_DIGITS}g}") for x in (low, high)]
    return ends if ends[0] < ends[1] else None
