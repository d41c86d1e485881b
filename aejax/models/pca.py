"""PCA of blocks of frames, and reduced-rank regression from noisy to clean blocks."""

import dataclasses

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aejax.models.blocks import from_blocks, to_blocks
from aejax.runtime.pytrees import Leaf, of_arrays
from aejax.signal.products import matmul


@flax.struct.dataclass
class PCA:
    """PCA of blocks of ``downsampling`` frames; with ``analysis``, the best linear map of the same
    rank from noisy to clean blocks (see `PairMoments`).

    Attributes:
      mean: ``[block]``, mean of the output, in the features' unit.
      components: ``[latent_dim, block]``, orthonormal rows, the largest variance first.
      deviations: ``[latent_dim]``, standard deviations, which latents are divided by.
      lowest, highest: ``[bins]``, range of the output features.
      downsampling: frames in a block.
      input_mean: ``[block]``, mean of the input; None if the target is the input.
      analysis: ``[latent_dim, block]``, from the input to latents before the division; None if it
        equals ``components``.
    """

    mean: Leaf
    components: Leaf
    deviations: Leaf
    lowest: Leaf
    highest: Leaf
    downsampling: int = flax.struct.field(pytree_node=False)
    input_mean: Leaf | None = None
    analysis: Leaf | None = None

    @property
    def encoder(self) -> tuple[Leaf, Leaf]:
        """Mean of the input blocks, and the analysis matrix, one row per latent."""
        if self.analysis is None or self.input_mean is None:
            return self.mean, self.components
        return self.input_mean, self.analysis

    def encode(
        self, features: Float[Array, "batch frames bins"]
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """Features to latents of unit variance."""
        mean, rows = self.encoder
        centred = to_blocks(features, self.downsampling) - mean[None, None]
        return matmul(centred, rows.T) / self.deviations[None, None]

    def decode(
        self, latents: Float[Array, "batch latent_frames latent_dim"]
    ) -> Float[Array, "batch frames bins"]:
        """Latents to features."""
        centred = matmul(latents * self.deviations[None, None], self.components)
        return self.limit(from_blocks(centred + self.mean[None, None], self.downsampling))

    def limit(self, features: Float[Array, "batch frames bins"]) -> Array:
        """Features clipped to the range of the output."""
        return jnp.clip(features, self.lowest[None, None], self.highest[None, None])

    def within(
        self, lowest: Float[np.ndarray, " bins"], highest: Float[np.ndarray, " bins"]
    ) -> "PCA":
        """A copy with the output range restricted to these limits."""
        return dataclasses.replace(
            self,
            lowest=jnp.maximum(self.lowest, jnp.asarray(lowest, jnp.float32)),
            highest=jnp.minimum(self.highest, jnp.asarray(highest, jnp.float32)),
        )

    def first(self, latents: int) -> "PCA":
        """A copy with only the first ``latents`` latents."""
        return dataclasses.replace(
            self,
            components=self.components[:latents],
            deviations=self.deviations[:latents],
            analysis=None if self.analysis is None else self.analysis[:latents],
        )


# The output range is wider than that of the training features by this fraction on either side.
MARGIN = 0.1


@of_arrays
class Range:
    """Running minimum and maximum of each entry of vectors."""

    def __init__(self, size: int):
        self.lowest, self.highest = np.full(size, np.inf), np.full(size, -np.inf)

    def update(self, vectors: Float[np.ndarray, "count size"]) -> None:
        """Adds a batch of vectors."""
        self.lowest = np.minimum(self.lowest, vectors.min(axis=0))
        self.highest = np.maximum(self.highest, vectors.max(axis=0))

    def merge(self, other: "Range") -> None:
        """Adds the vectors of another."""
        self.update(np.stack([other.lowest, other.highest]))

    def limits(self, downsampling: int) -> tuple[Array, Array]:
        """Minimum and maximum of each bin, widened by `MARGIN` of its range, ``[bins]`` each."""
        lowest = self.lowest.reshape(downsampling, -1).min(axis=0)
        highest = self.highest.reshape(downsampling, -1).max(axis=0)
        margin = MARGIN * (highest - lowest)
        return jnp.asarray(lowest - margin, jnp.float32), jnp.asarray(highest + margin, jnp.float32)


@of_arrays
class BlockMoments:
    """Running mean, covariance and range of vectors, in float64 and constant memory.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979, for vectors.
    """

    def __init__(self, size: int):
        self.count = 0
        self.mean = np.zeros(size)
        self.scatter = np.zeros((size, size))
        self.range = Range(size)

    def update(self, vectors: Float[np.ndarray, "count size"]) -> "BlockMoments":
        """Adds a batch of vectors."""
        if not len(vectors):
            return self
        vectors = vectors.astype(np.float64)
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        self._add(len(vectors), mean, centred.T @ centred)
        self.range.update(vectors)
        return self

    def merge(self, other: "BlockMoments") -> "BlockMoments":
        """Adds the vectors of another."""
        if other.count:
            self._add(int(other.count), other.mean, other.scatter)
            self.range.merge(other.range)
        return self

    def _add(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        shift, total = mean - self.mean, self.count + count
        self.scatter += scatter
        self.scatter += np.outer(shift, shift) * (self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total

    def standardisation(self, downsampling: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean of each bin ``[bins]``, and one standard deviation for all bins ``[]``."""
        return _standardisation(self.mean, np.trace(self.scatter) / self.count, downsampling)

    def variances(self) -> tuple[np.ndarray, np.ndarray]:
        """Explained variances ``[size]``, largest first, and components as rows.

        Normalised by ``count - 1``, as scikit-learn does.
        """
        return _principal(self.scatter / max(1, self.count - 1))

    def pca(self, latent_dim: int, downsampling: int) -> PCA:
        """The PCA of all vectors."""
        variances, components = self.variances()
        lowest, highest = self.range.limits(downsampling)
        return PCA(
            mean=jnp.asarray(self.mean, jnp.float32),
            components=jnp.asarray(components[:latent_dim], jnp.float32),
            deviations=_deviations(variances[:latent_dim]),
            lowest=lowest,
            highest=highest,
            downsampling=downsampling,
        )


def _standardisation(
    mean: np.ndarray, variance: float, downsampling: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each bin, and one standard deviation, from mean and total variance of blocks."""
    bin_means = mean.reshape(downsampling, -1).mean(axis=0)
    offset = mean - np.tile(bin_means, downsampling)
    scale = np.sqrt((variance + offset @ offset) / len(mean))
    return bin_means, np.asarray(scale if scale > 0 else 1.0)


def _principal(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, and eigenvectors as rows whose largest entry is positive."""
    values, vectors = np.linalg.eigh(covariance)
    components = vectors.T[::-1]
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return np.maximum(values[::-1], 0), components * signs[:, None]


def _deviations(variances: np.ndarray) -> Array:
    """Standard deviations of latents; positive even if the variance is 0."""
    top = variances.max(initial=0)
    usable = np.where(variances > 1e-12 * top, variances, top or 1)
    return jnp.asarray(np.sqrt(usable), jnp.float32)


@of_arrays
class PairMoments:
    """Running means and covariances of pairs of vectors, input and output, of equal size; see
    `BlockMoments`.

    `pca` is reduced-rank regression: the linear map of rank ``latent_dim`` with the least squared
    error. If input and output are equal, it is PCA. Source: Izenman, "Reduced-rank regression for
    the multivariate linear model", Journal of Multivariate Analysis 5, 1975.
    """

    def __init__(self, size: int):
        self.input = BlockMoments(size)
        self.mean = np.zeros(size)  # of the outputs
        self.cross = np.zeros((size, size))
        self.spread = 0.0  # squared distance of the outputs from their mean, summed
        self.range = Range(size)  # of the outputs

    def update(
        self, x: Float[np.ndarray, "count size"], y: Float[np.ndarray, "count size"]
    ) -> "PairMoments":
        """Adds a batch of pairs."""
        if not len(x):
            return self
        x, y = x.astype(np.float64), y.astype(np.float64)
        new = PairMoments(x.shape[1])
        new.input.update(x)
        new.mean = y.mean(axis=0)
        new.cross = (x - x.mean(axis=0)).T @ (y - new.mean)
        new.spread = np.square(y - new.mean).sum()
        new.range.update(y)
        return self.merge(new)

    def merge(self, other: "PairMoments") -> "PairMoments":
        """Adds the pairs of another."""
        count = int(other.input.count)
        if not count:
            return self
        shift, input_shift = other.mean - self.mean, other.input.mean - self.input.mean
        weight = self.input.count * count / (self.input.count + count)
        self.input.merge(other.input)
        self.cross += other.cross + np.outer(input_shift, shift) * weight
        self.spread += float(other.spread + shift @ shift * weight)
        self.mean += shift * (count / self.input.count)
        self.range.merge(other.range)
        return self

    def standardisation(self, downsampling: int) -> tuple[np.ndarray, np.ndarray]:
        """Standardisation of the outputs, see `BlockMoments.standardisation`."""
        return _standardisation(self.mean, self.spread / self.input.count, downsampling)

    def _penalty(self, ridge: float) -> np.ndarray:
        size = len(self.cross)
        return ridge * (np.trace(self.input.scatter) / size or 1.0) * np.eye(size)

    def regression(self, ridge: float) -> Float[np.ndarray, "inputs outputs"]:
        """Least-squares map from centred inputs to centred outputs.

        Args:
          ridge: penalty, relative to the mean variance of the inputs, on the squared distance from
            the best multiple of the identity. It prevents overfitting to little audio.
        """
        scatter = self.input.scatter
        multiple = np.trace(self.cross) / (np.trace(scatter) or 1.0)
        rest = self.cross - multiple * scatter
        correction = np.linalg.solve(scatter + self._penalty(ridge), rest)
        return correction + multiple * np.eye(len(rest))

    def squared_error(self, other: "PairMoments", regression: np.ndarray) -> float:
        """Sum of squared errors, on these pairs, of a regression that was fitted to ``other``."""
        explained = 2 * self.cross - self.input.scatter @ regression
        bias = self.mean - other.mean - (self.input.mean - other.input.mean) @ regression
        rest = self.spread - float((regression * explained).sum())
        return rest + self.input.count * float(bias @ bias)

    def pca(self, latent_dim: int, downsampling: int, ridge: float, regression: np.ndarray) -> PCA:
        """The best map of rank ``latent_dim``, from `regression` with the same ``ridge``."""
        scatter = self.input.scatter
        fitted = regression.T @ (scatter + self._penalty(ridge)) @ regression
        components = _principal(fitted)[1][:latent_dim]
        analysis = components @ regression.T
        variances = ((analysis @ scatter) * analysis).sum(1) / max(1, self.input.count - 1)
        lowest, highest = self.range.limits(downsampling)
        return PCA(
            mean=jnp.asarray(self.mean, jnp.float32),
            components=jnp.asarray(components, jnp.float32),
            deviations=_deviations(np.maximum(variances, 0)),
            lowest=lowest,
            highest=highest,
            downsampling=downsampling,
            input_mean=jnp.asarray(self.input.mean, jnp.float32),
            analysis=jnp.asarray(analysis, jnp.float32),
        )


@flax.struct.dataclass
class ContextPCA:
    """PCA's encoder, with a least-squares decoder that takes neighbouring latent frames too.

    It tells how much of a model's gain over PCA comes from context.

    Attributes:
      pca: the encoder.
      kernel: ``[(before + 1 + after) latent_dim, block]``, the earliest latent frame first.
      bias: ``[block]``.
      before, after: latent frames of context before and after a block.
    """

    pca: PCA
    kernel: Leaf
    bias: Leaf
    before: int = flax.struct.field(pytree_node=False)
    after: int = flax.struct.field(pytree_node=False)

    def encode(
        self, features: Float[Array, "batch frames bins"]
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """Features to the latents of PCA."""
        return self.pca.encode(features)

    def decode(
        self, latents: Float[Array, "batch latent_frames latent_dim"]
    ) -> Float[Array, "batch frames bins"]:
        """Latents to features, with zero padding at the ends."""
        context = neighbours(latents, self.before, self.after)
        blocks = matmul(context, self.kernel) + self.bias[None, None]
        return self.pca.limit(from_blocks(blocks, self.pca.downsampling))


def neighbours(
    latents: Float[Array, "batch latent_frames latent_dim"], before: int, after: int
) -> Float[Array, "batch latent_frames context"]:
    """Each latent frame concatenated with its context, the earliest frame first."""
    steps = latents.shape[1]
    padded = jnp.pad(latents, ((0, 0), (before, after), (0, 0)))
    return jnp.concatenate([padded[:, i : i + steps] for i in range(before + 1 + after)], axis=-1)


@of_arrays
class LeastSquares:
    """Linear least squares by normal equations, in batches, float64 and constant memory."""

    def __init__(self, inputs: int, outputs: int):
        # The last input is a constant 1.
        self.gram = np.zeros((inputs + 1, inputs + 1))
        self.cross = np.zeros((inputs + 1, outputs))
        self.squares = 0.0

    def update(
        self, x: Float[np.ndarray, "count inputs"], y: Float[np.ndarray, "count outputs"]
    ) -> "LeastSquares":
        """Adds a batch of pairs."""
        x = np.pad(x.astype(np.float64), ((0, 0), (0, 1)), constant_values=1.0)
        y = y.astype(np.float64)
        self.gram += x.T @ x
        self.cross += x.T @ y
        self.squares += float(np.square(y).sum())
        return self

    def merge(self, other: "LeastSquares") -> "LeastSquares":
        """Adds the pairs of another."""
        self.gram += other.gram
        self.cross += other.cross
        self.squares += float(other.squares)
        return self

    @property
    def count(self) -> float:
        """Number of pairs."""
        return float(self.gram[-1, -1])

    def solve(
        self, ridge: float = 0.0, toward: Float[np.ndarray, "rows outputs"] | float = 0.0
    ) -> Float[np.ndarray, "rows outputs"]:
        """The map ``[inputs + 1, outputs]``; its last row is the bias.

        Args:
          ridge: penalty per pair on the squared distance from ``toward``, bias excluded; 0 gives
            the solution of minimum norm.
          toward: a map of the same shape.
        """
        rest = self.cross - self.gram @ (toward + np.zeros_like(self.cross))
        if not ridge:
            return toward + np.linalg.lstsq(self.gram, rest, rcond=1e-10)[0]
        penalty = np.full(len(self.gram), ridge * max(self.count, 1))
        # Almost no penalty on the bias.
        penalty[-1] *= 1e-9
        return toward + np.linalg.solve(self.gram + np.diag(penalty), rest)

    def squared_error(self, coefficients: Float[np.ndarray, "rows outputs"]) -> float:
        """Sum of squared errors of a map ``[inputs + 1, outputs]`` on all pairs."""
        explained = 2 * self.cross - self.gram @ coefficients
        return self.squares - float((coefficients * explained).sum())
