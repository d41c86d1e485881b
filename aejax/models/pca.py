"""PCA of blocks of frames: an autoencoder whose fit is closed-form."""

from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from aejax.models.blocks import from_blocks, matmul, to_blocks


@flax.struct.dataclass
class PCA:
    """The best linear autoencoder of blocks of ``downsampling`` frames.

    Attributes:
      mean: ``[block]``, in the features' unit.
      components: ``[latent_dim, block]``, orthonormal rows, the largest variance first.
      deviations: ``[latent_dim]``, standard deviation along each; latents are divided by it.
      downsampling: frames in a block.
    """

    mean: Any  # Any, because JAX puts shapes and shardings where the arrays are
    components: Any
    deviations: Any
    downsampling: int = flax.struct.field(pytree_node=False)

    def encode(
        self, features: Float[Array, "batch frames bins"]
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        """Features to latents of unit variance."""
        centred = to_blocks(features, self.downsampling) - self.mean[None, None]
        return matmul(centred, self.components.T) / self.deviations[None, None]

    def decode(
        self, latents: Float[Array, "batch latent_frames latent_dim"]
    ) -> Float[Array, "batch frames bins"]:
        """Latents to features."""
        centred = matmul(latents * self.deviations[None, None], self.components)
        return from_blocks(centred + self.mean[None, None], self.downsampling)


class BlockMoments:
    """Mean and covariance of vectors that come in batches, in float64, in constant memory.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", 1979, for vectors.
    """

    def __init__(self, size: int):
        self.count = 0
        self.mean = np.zeros(size)
        self.scatter = np.zeros((size, size))

    def update(self, vectors: Float[np.ndarray, "count size"]) -> "BlockMoments":
        """Takes in more vectors."""
        if not len(vectors):
            return self
        vectors = vectors.astype(np.float64)
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        apart = mean - self.mean
        total = self.count + len(vectors)
        self.scatter += centred.T @ centred
        self.scatter += np.outer(apart, apart) * (self.count * len(vectors) / total)
        self.mean += apart * (len(vectors) / total)
        self.count = total
        return self

    def standardisation(self, downsampling: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean of each bin ``[bins]`` and one standard deviation for all of them ``[]``."""
        mean = self.mean.reshape(downsampling, -1).mean(axis=0)
        offset = self.mean - np.tile(mean, downsampling)
        variance = np.trace(self.scatter) / self.count + offset @ offset
        scale = np.sqrt(variance / len(self.mean))
        return mean, np.asarray(scale if scale > 0 else 1.0)

    def variances(self) -> tuple[np.ndarray, np.ndarray]:
        """Explained variances ``[size]``, largest first, and their components as rows.

        Normalised by ``count - 1``, as scikit-learn does.
        """
        values, vectors = np.linalg.eigh(self.scatter / max(1, self.count - 1))
        components = vectors.T[::-1]
        largest = np.abs(components).argmax(axis=1)
        signs = np.sign(components[np.arange(len(components)), largest])
        return np.maximum(values[::-1], 0), components * signs[:, None]

    def pca(self, latent_dim: int, downsampling: int) -> PCA:
        """The PCA of all vectors taken in."""
        variances, components = self.variances()
        kept = variances[:latent_dim]
        # A direction without variance has latents of zero, whatever they are divided by.
        deviations = np.sqrt(np.where(kept > 1e-12 * variances[0], kept, 1))
        return PCA(
            mean=jnp.asarray(self.mean, jnp.float32),
            components=jnp.asarray(components[:latent_dim], jnp.float32),
            deviations=jnp.asarray(deviations, jnp.float32),
            downsampling=downsampling,
        )
