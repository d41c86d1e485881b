"""Fits PCA and standardisation on the training split."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from aejax.models.blocks import from_blocks, to_blocks
from aejax.models.pca import (
    PCA,
    BlockMoments,
    ContextPCA,
    LeastSquares,
    PairMoments,
    neighbours,
)
from aejax.representations import Representation, analyse_blocks
from aejax.runtime import arrays, processes
from aejax.runtime.errors import UserError


class Fit(NamedTuple):
    """PCA and standardisation of a training split.

    Attributes:
      pca: PCA of blocks of frames; for denoising, from noisy to clean blocks.
      mean: mean of each bin, ``[bins]``.
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
    features, _, mask = analyse_blocks(representation, audio, length, downsampling)
    return to_blocks(features, downsampling), mask


def fit(
    batches: Iterable[Any],
    *,
    representation: Representation,
    downsampling: int,
    latent_dim: int,
    device_put: Callable[[Any], dict[str, jax.Array]],
    add_noise: Callable[[dict[str, jax.Array]], jax.Array] | None = None,
    held_out: Iterable[Any] = (),
) -> Fit:
    """Fits PCA in one pass over the batches; its memory depends only on the size of a block.

    Args:
      batches: to fit on.
      representation: of the audio.
      downsampling: frames in a block.
      latent_dim: number of components.
      device_put: puts a batch on the devices.
      add_noise: for denoising, a function from a batch on the devices to its noisy audio; the fit
        is then the best linear map of rank ``latent_dim`` from noisy to clean blocks.
      held_out: for denoising, batches that choose the ridge penalty.
    """
    sizes = {"representation": representation, "downsampling": downsampling}
    block = downsampling * representation.bins

    def valid_blocks(batches: Iterable[Any]) -> Iterator[tuple[np.ndarray, ...]]:
        """Valid blocks; for denoising, noisy and clean ones."""
        for batch in batches:
            placed = device_put(batch)
            length = placed["length"]
            blocks, mask = jax.device_get(_blocks(placed["audio"], length, **sizes))
            if add_noise is None:
                yield (blocks[mask],)
            else:
                noisy = jax.device_get(_blocks(add_noise(placed), length, **sizes)[0])
                yield noisy[mask], blocks[mask]

    if add_noise is None:
        moments = BlockMoments(block)
        for (blocks,) in valid_blocks(batches):
            moments.update(blocks)
        moments = _merged(moments)
        mean, scale = moments.standardisation(downsampling)
        pca = moments.pca(latent_dim, downsampling)
        return Fit(pca.within(*representation.limits()), mean, scale)
    pairs, held_out_pairs = PairMoments(block), PairMoments(block)
    for moments_of_split, split in ((pairs, batches), (held_out_pairs, held_out)):
        for noisy_and_clean in valid_blocks(split):
            moments_of_split.update(*noisy_and_clean)
    pairs, held_out_pairs = _merged(pairs), _merged(held_out_pairs)
    mean, scale = pairs.standardisation(downsampling)
    pca = _regressed(pairs, held_out_pairs, latent_dim, downsampling)
    return Fit(pca.within(*representation.limits()), mean, scale)


def _merged(moments: Any) -> Any:
    """The moments of what all processes have read."""
    return functools.reduce(lambda all_of, more: all_of.merge(more), processes.gather_tree(moments))


# Penalties on the distance from the best multiple of the identity, relative to the mean variance
# of the noisy blocks.
_MAP_RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)


def _regressed(
    pairs: PairMoments, held_out: PairMoments, latent_dim: int, downsampling: int
) -> PCA:
    """The map of rank ``latent_dim`` with the penalty of least error on the held-out pairs."""
    least, best = np.inf, (0.0, np.zeros(0))
    for ridge in _MAP_RIDGES:
        regression = pairs.regression(ridge)
        error = held_out.squared_error(pairs, regression)
        if error < least:
            least, best = error, (ridge, regression)
    return pairs.pca(latent_dim, downsampling, *best)


@functools.partial(jax.jit, static_argnames=("before", "after"))
def _context(
    pca: PCA, blocks: Float[Array, "batch latent_frames block"], *, before: int, after: int
) -> Float[Array, "batch latent_frames context"]:
    return neighbours(pca.encode(from_blocks(blocks, pca.downsampling)), before, after)


# Ridge penalties on the distance from PCA's decoder, from none to very strong.
_RIDGES = (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0)


def fit_context(
    batches: Iterable[Any],
    held_out: Iterable[Any],
    pca: PCA,
    *,
    representation: Representation,
    before: int,
    after: int,
    device_put: Callable[[Any], dict[str, jax.Array]],
) -> ContextPCA:
    """PCA with the best linear decoder from each latent frame and its context.

    Ridge regression towards PCA's decoder, with the penalty of least error on the held-out batches,
    so that it does not overfit little audio.

    Args:
      batches: to fit on.
      held_out: batches that choose the penalty.
      pca: the encoder.
      representation: of the audio.
      before, after: latent frames of context before and after a block.
      device_put: puts a batch on the devices.
    """
    latent_dim, block = pca.components.shape
    around = before + 1 + after

    def squares_of(batches: Iterable[Any]) -> LeastSquares:
        squares = LeastSquares(around * latent_dim, block)
        for batch in batches:
            placed = device_put(batch)
            blocks, mask = _blocks(
                placed["audio"],
                placed["length"],
                representation=representation,
                downsampling=pca.downsampling,
            )
            context = _context(pca, blocks, before=before, after=after)
            blocks, context, mask = jax.device_get((blocks, context, mask))
            squares.update(context[mask], blocks[mask])
        return _merged(squares)

    fitted, validation = squares_of(batches), squares_of(held_out)
    # PCA's decoder, as a map from all latent frames of the context.
    pca_decoder = np.zeros(fitted.cross.shape)
    kernel = np.asarray(pca.deviations)[:, None] * np.asarray(pca.components)
    pca_decoder[before * latent_dim : (before + 1) * latent_dim] = kernel
    pca_decoder[-1] = np.asarray(pca.mean)
    candidates = [fitted.solve(ridge, pca_decoder) for ridge in _RIDGES]
    best = jnp.asarray(min(candidates, key=validation.squared_error), jnp.float32)
    return ContextPCA(pca, best[:-1], best[-1], before, after)


def save(path: Path, fitted: Fit) -> None:
    """Writes a fit, atomically."""
    standardisation = {"mean": fitted.mean, "scale": fitted.scale}
    content = _pca_arrays(fitted.pca) | standardisation
    arrays.save(path, {"downsampling": fitted.pca.downsampling}, content)


def load(path: Path, *, downsampling: int, bins: int, latent_dim: int) -> Fit:
    """Reads the fit that `save` wrote.

    Raises:
      UserError: the file is damaged, or of other sizes.
    """
    about, content = arrays.load(path, remedy=_REMEDY)
    _whole_number(path, about, "downsampling", downsampling, downsampling)
    block = downsampling * bins
    shapes = {"pca_mean": (block,), "pca_components": (latent_dim, block)}
    shapes |= {"pca_deviations": (latent_dim,), "mean": (bins,), "scale": ()}
    shapes |= {"pca_lowest": (bins,), "pca_highest": (bins,)}
    if "pca_analysis" in content:  # from noisy to clean blocks
        shapes |= {"pca_input_mean": (block,), "pca_analysis": (latent_dim, block)}
    _check(path, content, shapes)
    parts = {
        name.removeprefix("pca_"): jnp.asarray(content[name])
        for name in shapes
        if name.startswith("pca_")
    }
    return Fit(PCA(**parts, downsampling=downsampling), content["mean"], content["scale"])


def save_context(path: Path, fitted: ContextPCA) -> None:
    """Writes the decoder of `fit_context`, atomically; `save` writes its PCA."""
    about = {"before": fitted.before, "after": fitted.after}
    arrays.save(path, about, {"kernel": fitted.kernel, "bias": fitted.bias})


def load_context(path: Path, pca: PCA) -> ContextPCA:
    """Reads the decoder that `save_context` wrote.

    Raises:
      UserError: the file is damaged, or of other sizes.
    """
    about, content = arrays.load(path, remedy=_REMEDY)
    before, after = (_whole_number(path, about, key, 0, 2**16) for key in ("before", "after"))
    latent_dim, block = pca.components.shape
    around = (before + 1 + after) * latent_dim
    _check(path, content, {"kernel": (around, block), "bias": (block,)})
    return ContextPCA(
        pca, jnp.asarray(content["kernel"]), jnp.asarray(content["bias"]), before, after
    )


_REMEDY = "delete it to fit PCA again"


def _pca_arrays(pca: PCA) -> dict[str, jax.Array]:
    names = ("mean", "components", "deviations", "lowest", "highest", "input_mean", "analysis")
    parts = {f"pca_{name}": getattr(pca, name) for name in names}
    return {name: part for name, part in parts.items() if part is not None}


def _whole_number(path: Path, about: Any, key: str, least: int, most: int) -> int:
    value = about.get(key) if isinstance(about, dict) else None
    if type(value) is not int or not least <= value <= most:
        raise UserError(f"{path} is damaged ({key}); {_REMEDY}")
    return value


def _check(
    path: Path, content: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    for name, shape in shapes.items():
        array = content.get(name)
        if array is None or array.shape != shape or array.dtype not in (np.float32, np.float64):
            raise UserError(f"{path} is damaged ({name}); {_REMEDY}")
        if not np.isfinite(array).all():
            raise UserError(f"{path} is damaged ({name} is not finite); {_REMEDY}")
