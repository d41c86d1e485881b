"""Inversion of mel spectrograms to linear frequency."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aejax.signal.arguments import check_choice, check_integer, check_real, compiled
from aejax.signal.framing import expand, map_frames
from aejax.signal.mel import Scale, mel_filterbank
from aejax.signal.phase import MOST_ITERATIONS
from aejax.signal.products import matmul

Solver = Callable[[jax.Array], jax.Array]


@compiled()
def mel_to_linear(
    mel: Float[Array, "*batch frames n_mels"],
    *,
    sample_rate: float,
    n_fft: int,
    fmin: float = 0.0,
    fmax: float | None = None,
    scale: Scale = "slaney",
    norm: Literal["slaney"] | None = "slaney",
    method: Literal["nnls", "kl", "pinv"] = "nnls",
    num_iterations: int = 50,
) -> Float[Array, "*batch frames bins"]:
    """A non-negative spectrum whose mel spectrum is (nearly) ``mel``.

    It is not unique, since a mel spectrum has fewer values. Bins that no filter covers are zero.

    Args:
      mel: mel power, or mel magnitude for a magnitude spectrum, 0 or above.
      sample_rate, n_fft, fmin, fmax, scale, norm: as for `aejax.signal.mel.mel_filterbank`, the
        filters of ``mel``.
      method: "nnls", non-negative least squares, as ``librosa.feature.inverse.mel_to_stft``: exact
        in loud bands; errors in quiet bands are relative to the loud ones.
        "kl", the least generalised Kullback-Leibler divergence: errors are
        weighted by the level, so they are small in dB in quiet bands too.
        "pinv", the pseudo-inverse with its negative values set to zero: one matrix product.
      num_iterations: of "nnls" and "kl".

    Returns:
      ``[..., frames, n_fft // 2 + 1]``.

    Raises:
      ValueError: an argument is invalid, see also `mel_filterbank`.
    """
    check_real("mel", mel, ndim=2)
    check_integer("frames", mel.shape[-2])
    check_choice("method", method, tuple(METHODS))
    check_integer("num_iterations", num_iterations, most=MOST_ITERATIONS)
    filters = mel_filterbank(
        sample_rate=sample_rate,
        n_fft=n_fft,
        n_mels=mel.shape[-1],
        fmin=fmin,
        fmax=fmax,
        scale=scale,
        norm=norm,
    )
    solve = METHODS[method](filters.astype(np.float64), num_iterations, mel.dtype)

    def solve_at_any_level(mel: jax.Array) -> jax.Array:
        # The solution scales with the level, so frames are solved at level 1, where products are
        # far from the limits of float32. The level does not affect the derivative.
        level = jax.lax.stop_gradient(mel.max(axis=-1, keepdims=True))
        level = jnp.where(level > 0, level, 1)
        return solve(mel / level) * level

    # Frames are independent, so a long spectrogram is solved chunk by chunk.
    n_mels = mel.shape[-1]
    rows = mel.reshape(*mel.shape[:-2], mel.shape[-2] * n_mels)
    return map_frames(solve_at_any_level, rows, frame_length=n_mels, hop_length=n_mels)


def _least_squares(filters: np.ndarray, num_iterations: int, dtype: np.dtype) -> Solver:
    """Accelerated projected gradient, with a step per bin, and momentum restarted row by row.

    H = F F' has no negative elements, so the diagonal matrix of its row sums bounds it from above.
    Its inverse is a step size with which the error never grows.

    Sources: Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", SIAM J.
    Imaging Sciences 2(1), 2009; O'Donoghue and Candes, "Adaptive restart for accelerated gradient
    schemes", Foundations of Computational Mathematics 15, 2015, section 3.2, gradient scheme.
    """
    bound = filters @ filters.sum(axis=0)
    covered = bound > 0
    back = (filters / np.where(covered, bound, 1)[:, None]).T.astype(dtype)
    weight = bound.astype(dtype)
    forward = filters.astype(dtype)

    def solve(mel: jax.Array) -> jax.Array:
        def update(carry: tuple, _: None) -> tuple[tuple, None]:
            x, ahead, t = carry
            new = jnp.maximum(0, ahead - matmul(matmul(ahead, forward) - mel, back))
            moved = new - x
            uphill = ((ahead - new) * moved * expand(weight, x.ndim)).sum(axis=-1, keepdims=True)
            t = jnp.where(uphill > 0, 1, t)
            t_new = (1 + jnp.sqrt(1 + 4 * jnp.square(t))) / 2
            return (new, new + (t - 1) / t_new * moved, t_new), None

        start = _spread(filters, dtype)(mel)
        t = jnp.ones_like(mel[..., :1])
        return jax.lax.scan(update, (start, start, t), length=num_iterations)[0][0]

    return solve


def _kullback_leibler(filters: np.ndarray, num_iterations: int, dtype: np.dtype) -> Solver:
    """Multiplicative updates that lower the generalised Kullback-Leibler divergence.

    Source: Lee and Seung, "Algorithms for non-negative matrix factorization", NIPS 2000,
    theorem 2, with the dictionary held fixed.
    """
    back = _transposed(filters).astype(dtype)
    forward = filters.astype(dtype)
    # Bands below this fraction of the loudest count as silent: the gradient of the ratio is finite.
    silent = float(np.sqrt(jnp.finfo(dtype).tiny))

    def solve(mel: jax.Array) -> jax.Array:
        def update(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            current = matmul(x, forward)
            is_silent = current < silent
            ratio = jnp.where(is_silent, 0, mel / jnp.where(is_silent, 1, current))
            return x * matmul(ratio, back), None

        return jax.lax.scan(update, _spread(filters, dtype)(mel), length=num_iterations)[0]

    return solve


def _pseudo_inverse(filters: np.ndarray, num_iterations: int, dtype: np.dtype) -> Solver:
    """The pseudo-inverse; ``num_iterations`` is ignored."""
    del num_iterations
    inverse = np.linalg.pinv(filters).astype(dtype)
    return lambda mel: jnp.maximum(0, matmul(mel, inverse))


def _spread(filters: np.ndarray, dtype: np.dtype) -> Solver:
    """A non-negative start: the level of each band spread over the bins of its filter."""
    back = (_transposed(filters) / filters.sum(axis=0)[:, None]).astype(dtype)
    return lambda mel: matmul(mel, back)


def _transposed(filters: np.ndarray) -> np.ndarray:
    """``[n_mels, bins]``, columns scaled to a sum of 1, or 0 for bins that no filter covers."""
    total = filters.sum(axis=1)
    return (filters / np.where(total > 0, total, 1)[:, None]).T


METHODS = {"nnls": _least_squares, "kl": _kullback_leibler, "pinv": _pseudo_inverse}
