"""Fitting PCA, and the standardisation that comes with it, on the training split."""

import functools
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from aejax.errors import UserError
from aejax.models.blocks import to_blocks
from aejax.models.pca import PCA, BlockMoments
from aejax.representation import Representation, valid_frames


class Fit(NamedTuple):
    """What was fitted on the training split.

    Attributes:
      pca: of blocks of frames.
      mean: of each bin, ``[bins]``.
      scale: one standard deviation for all bins, ``[]``.
    """

    pca: PCA
    mean: np.ndarray
    scale: np.ndarray


@functools.partial(jax.jit, static_argnames=("representation", "downsampling"))
def _blocks(
    audio: Float[Array, "batch samples *channels"],
    length: Int[Array, " batch"],
    *,
    representation: Representation,
    downsampling: int,
) -> tuple[Float[Array, "batch latent_frames block"], Bool[Array, "batch latent_frames"]]:
    features = representation.analyse(audio)
    mask = valid_frames(representation, length, features.shape[1], downsampling)
    return to_blocks(features, downsampling), mask[:, ::downsampling]


def fit(
    batches: Iterable[Any],
    *,
    representation: Representation,
    downsampling: int,
    latent_dim: int,
    place: Callable[[Any], dict[str, jax.Array]],
) -> Fit:
    """One pass over the batches; its memory depends on the size of a block alone."""
    moments = BlockMoments(downsampling * representation.bins)
    for batch in batches:
        placed = place(batch)
        blocks, mask = jax.device_get(
            _blocks(
                placed["audio"],
                placed["length"],
                representation=representation,
                downsampling=downsampling,
            )
        )
        moments.update(blocks[mask])
    mean, scale = moments.standardisation(downsampling)
    return Fit(moments.pca(latent_dim, downsampling), mean, scale)


def save(path: Path, fitted: Fit) -> None:
    """Writes a fit as ``.npz``, whole or not at all."""
    beside = path.with_name("part." + path.name)
    np.savez(
        beside,
        pca_mean=fitted.pca.mean,
        pca_components=fitted.pca.components,
        pca_deviations=fitted.pca.deviations,
        downsampling=fitted.pca.downsampling,
        mean=fitted.mean,
        scale=fitted.scale,
    )
    beside.replace(path)


def load(path: Path) -> Fit:
    """Reads what `save` wrote; only arrays, never objects.

    Raises:
      UserError: it is not what `save` writes.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pca = PCA(
                mean=jnp.asarray(arrays["pca_mean"]),
                components=jnp.asarray(arrays["pca_components"]),
                deviations=jnp.asarray(arrays["pca_deviations"]),
                downsampling=int(arrays["downsampling"]),
            )
            return Fit(pca, arrays["mean"], arrays["scale"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is damaged ({error}); delete it to fit PCA anew") from None
