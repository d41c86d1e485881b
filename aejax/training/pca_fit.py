"""Fitting PCA, and the standardisation that comes with it, on the training split."""

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
from aejax.representations import Representation, valid_frames
from aejax.runtime import arrays
from aejax.runtime.errors import UserError


class Fit(NamedTuple):
    """What was fitted on the training split.

    Attributes:
      pca: of blocks of frames; from noisy to clean ones, where noise is to be taken away.
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
    device_put: Callable[[Any], dict[str, jax.Array]],
    add_noise: Callable[[dict[str, jax.Array]], jax.Array] | None = None,
    held_out: Iterable[Any] = (),
) -> Fit:
    """One pass over the batches; its memory depends on the size of a block alone.

    Args:
      batches: to fit on.
      representation: of the audio.
      downsampling: frames in a block.
      latent_dim: numbers for a block.
      device_put: puts a batch on the devices.
      add_noise: noisy audio of a placed batch, for denoising: the fit is then the best linear map
        of rank ``latent_dim`` from noisy to clean blocks.
      held_out: batches that choose how far that map may be from the identity; for denoising.
    """
    sizes = {"representation": representation, "downsampling": downsampling}
    block = downsampling * representation.bins

    def placed_blocks(batches: Iterable[Any]) -> Iterator[tuple[np.ndarray, ...]]:
        """Valid blocks; for denoising, noisy ones and their clean targets."""
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
        for (blocks,) in placed_blocks(batches):
            moments.update(blocks)
        mean, scale = moments.standardisation(downsampling)
        pca = moments.pca(latent_dim, downsampling)
        return Fit(pca.within(*representation.limits()), mean, scale)
    pairs, held_out_pairs = PairMoments(block), PairMoments(block)
    for moments_of_split, split in ((pairs, batches), (held_out_pairs, held_out)):
        for noisy_and_clean in placed_blocks(split):
            moments_of_split.update(*noisy_and_clean)
    mean, scale = pairs.standardisation(downsampling)
    pca = _regressed(pairs, held_out_pairs, latent_dim, downsampling)
    return Fit(pca.within(*representation.limits()), mean, scale)


# Penalties on the distance from the best multiple of the identity, relative to the mean variance
# of the noisy blocks.
_MAP_RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)


def _regressed(
    pairs: PairMoments, held_out: PairMoments, latent_dim: int, downsampling: int
) -> PCA:
    """The map of rank ``latent_dim``, with the penalty that is best on the pairs held out."""
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


# Pulls towards PCA's own decoder, from none to so strong that little else is left.
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
    """The best linear decoder from so many latent frames around a block, in one more pass.

    Least squares, with as much of a pull towards PCA's own decoder as is best on the batches that
    are held out: of little audio it would learn accidents by heart.

    Args:
      batches: to fit on.
      held_out: to choose by.
      pca: whose latents they are.
      representation: of the audio.
      before, after: latent frames around a block's own.
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
        return squares

    fitted, judge = squares_of(batches), squares_of(held_out)
    # PCA's own decoder, as a map from all of the context.
    own = np.zeros(fitted.cross.shape)
    kernel = np.asarray(pca.deviations)[:, None] * np.asarray(pca.components)
    own[before * latent_dim : (before + 1) * latent_dim] = kernel
    own[-1] = np.asarray(pca.mean)
    candidates = [fitted.solve(ridge, own) for ridge in _RIDGES]
    best = jnp.asarray(min(candidates, key=judge.squared_error), jnp.float32)
    return ContextPCA(pca, best[:-1], best[-1], before, after)


def save(path: Path, fitted: Fit) -> None:
    """Writes a fit, whole or not at all."""
    found = {"mean": fitted.mean, "scale": fitted.scale}
    arrays.save(path, {"downsampling": fitted.pca.downsampling}, _of_pca(fitted.pca) | found)


def load(path: Path, *, downsampling: int, bins: int, latent_dim: int) -> Fit:
    """Reads what `save` wrote, of a fit of these sizes.

    Raises:
      UserError: it is not that.
    """
    about, found = arrays.load(path, remedy=_REMEDY)
    _whole_number(path, about, "downsampling", downsampling, downsampling)
    block = downsampling * bins
    shapes = {"pca_mean": (block,), "pca_components": (latent_dim, block)}
    shapes |= {"pca_deviations": (latent_dim,), "mean": (bins,), "scale": ()}
    shapes |= {"pca_lowest": (bins,), "pca_highest": (bins,)}
    if "pca_analysis" in found:  # it goes from other blocks than it gives back
        shapes |= {"pca_input_mean": (block,), "pca_analysis": (latent_dim, block)}
    _check(path, found, shapes)
    parts = {
        name.removeprefix("pca_"): jnp.asarray(found[name])
        for name in shapes
        if name.startswith("pca_")
    }
    return Fit(PCA(**parts, downsampling=downsampling), found["mean"], found["scale"])


def save_context(path: Path, fitted: ContextPCA) -> None:
    """Writes what `fit_context` found beyond PCA itself, whole or not at all."""
    about = {"before": fitted.before, "after": fitted.after}
    arrays.save(path, about, {"kernel": fitted.kernel, "bias": fitted.bias})


def load_context(path: Path, pca: PCA) -> ContextPCA:
    """Reads what `save_context` wrote.

    Raises:
      UserError: it is not that.
    """
    about, found = arrays.load(path, remedy=_REMEDY)
    before, after = (_whole_number(path, about, key, 0, 2**16) for key in ("before", "after"))
    latent_dim, block = pca.components.shape
    around = (before + 1 + after) * latent_dim
    _check(path, found, {"kernel": (around, block), "bias": (block,)})
    return ContextPCA(pca, jnp.asarray(found["kernel"]), jnp.asarray(found["bias"]), before, after)


_REMEDY = "delete it to fit PCA anew"


def _of_pca(pca: PCA) -> dict[str, jax.Array]:
    names = ("mean", "components", "deviations", "lowest", "highest", "input_mean", "analysis")
    parts = {f"pca_{name}": getattr(pca, name) for name in names}
    return {name: part for name, part in parts.items() if part is not None}


def _whole_number(path: Path, about: Any, key: str, least: int, most: int) -> int:
    value = about.get(key) if isinstance(about, dict) else None
    if type(value) is not int or not least <= value <= most:
        raise UserError(f"{path} is damaged ({key}); {_REMEDY}")
    return value


def _check(
    path: Path, found: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    for name, shape in shapes.items():
        array = found.get(name)
        if array is None or array.shape != shape or array.dtype not in (np.float32, np.float64):
            raise UserError(f"{path} is damaged ({name}); {_REMEDY}")
        if not np.isfinite(array).all():
            raise UserError(f"{path} is damaged ({name} is not finite); {_REMEDY}")
