"""PCA through the coder of `aejax compress`: a linear baseline at the bits of a quantised model."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aejax.evaluation import entropy_coding
from aejax.evaluation.entropy_coding import Predictor, Statistics
from aejax.evaluation.evaluate import Evaluator, LatentCodec
from aejax.evaluation.rows import CODED_PCA_ROW
from aejax.models.pca import PCA
from aejax.runtime.errors import UserError

MOST_WINDOWS = 500  # from which the step size is chosen
_MOST_FRAMES = 500  # of a sequence, which bounds the number of calls


class CodedPCA(NamedTuple):
    """PCA whose latents are rounded to multiples of ``steps``, ``[latent_dim]``."""

    pca: PCA
    steps: Float[Array, " latent_dim"]

    def encode(
        self, features: Float[Array, "batch frames bins"]
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """Quantised latents of whole blocks of features."""
        steps = self.steps[None, None]
        return jnp.round(self.pca.encode(features) / steps) * steps

    def decode(
        self, latents: Float[Array, "batch latent_frames latent_dim"]
    ) -> Float[Array, "batch frames bins"]:
        """Features of latents."""
        return self.pca.decode(latents)


def coded_pca(
    evaluator: Evaluator,
    pca: LatentCodec,
    model: LatentCodec,
    statistics: Statistics,
    batches: Iterable[Any],
) -> list[LatentCodec]:
    """PCA quantised as finely as its entropy-coded latents stay within the rate of a model's codes.

    Only the step size is chosen, by the rate alone, as a coder does that keeps to a rate. Errors
    are not looked at. Rates are those of an ideal range coder, without the headers of files.

    Args:
      evaluator: of the run.
      pca: unquantised PCA.
      model: the quantised model.
      statistics: of PCA's latents in training.
      batches: what is coded, or a sample of it.

    Returns:
      The codec with its rate; nothing if PCA cannot be coded at so low a rate.
    """
    latents, valid = _padded(evaluator, pca, batches)
    rate = evaluator.latent_frame_rate / valid.sum()

    def rate_at(scale: float) -> float:
        integers = entropy_coding.quantise(latents, statistics.steps * scale)
        return rate * entropy_coding.code_length(integers, valid, Predictor(statistics, scale))

    most = evaluator.capacity(model)
    scale = None if most is None else entropy_coding.finest_scale(rate_at, most)
    if scale is None:
        return []
    steps = jnp.asarray(statistics.steps * scale, jnp.float32)
    placed = jax.device_put(steps, jax.tree.leaves(pca.variables)[0].sharding)
    return [
        dataclasses.replace(
            pca,
            name=CODED_PCA_ROW,
            variables=CodedPCA(pca.variables, placed),
            bits_per_second=rate_at(scale),
        )
    ]


def _padded(
    evaluator: Evaluator, codec: LatentCodec, batches: Iterable[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Latents of clips, ``[sequences, latent_frames, latent_dim]``, and the mask of frames."""
    by_clip: dict[int, list[np.ndarray]] = {}
    for batch in batches:
        latents, valid = evaluator.latents(codec, batch)
        for clip, row, frames in zip(batch["clip"].tolist(), latents, valid, strict=True):
            if frames.any():
                by_clip.setdefault(clip, []).append(row[frames])
    sequences = []
    for rows in by_clip.values():
        whole = np.concatenate(rows)
        sequences += [whole[i : i + _MOST_FRAMES] for i in range(0, len(whole), _MOST_FRAMES)]
    if not sequences:
        raise UserError("no clip of this split is readable; restore the files")
    longest = max(map(len, sequences))
    padded = [np.pad(x, ((0, longest - len(x)), (0, 0))) for x in sequences]
    lengths = np.asarray([len(x) for x in sequences])
    return np.stack(padded), np.arange(longest)[None] < lengths[:, None]
