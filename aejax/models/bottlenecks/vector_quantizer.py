"""Vector quantisers: a latent frame is the sum of one entry from each codebook."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from aejax import parts
from aejax.models.bottlenecks.base import Bottleneck, Latents, Mask, masked_mean
from aejax.parts import at_least, between, bottlenecks, fraction, key
from aejax.signal.indexing import segment_sum, take
from aejax.signal.products import matmul

_LLOYD_ROUNDS = 10
# Usage below which an entry has no vectors.
_NO_USAGE = 1e-12
# Random vectors that a dead entry may become.
_DRAWS = 4


def nearest(
    vectors: Float[Array, "*shape latent_dim"], codebook: Float[Array, "entries latent_dim"]
) -> Int[Array, "*shape"]:
    """Index of the entry nearest to each vector."""
    product = matmul(vectors, codebook.T)
    squared = jnp.square(codebook).sum(-1)
    return (squared.reshape(*[1] * (vectors.ndim - 1), -1) - 2 * product).argmin(-1)


@functools.partial(jax.jit, static_argnames="entries")
def k_means(
    key: jax.Array,
    vectors: Float[Array, "count latent_dim"],
    *,
    entries: int,
) -> tuple[Float[Array, "entries latent_dim"], Float[Array, " entries"]]:
    """A codebook of ``entries`` by Lloyd's algorithm from random vectors, and the number of vectors
    nearest to each entry. Entries without vectors do not move."""
    start = jax.random.choice(key, vectors.shape[0], (entries,), vectors.shape[0] < entries)

    def lloyd(_: Array, codebook: Array) -> Array:
        sums, counts = _sums(nearest(vectors, codebook), vectors, entries)
        return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1)[:, None], codebook)

    codebook = jax.lax.fori_loop(0, _LLOYD_ROUNDS, lloyd, vectors[start])
    return codebook, _sums(nearest(vectors, codebook), vectors, entries)[1]


def _sums(index: Array, vectors: Array, entries: int) -> tuple[Array, Array]:
    """Sum and number of the vectors nearest to each entry."""
    weight = jnp.ones_like(vectors[:, 0])
    return segment_sum(vectors, index, entries), segment_sum(weight, index, entries)


def start_codebooks(
    key: jax.Array, latents: Float[Array, "count latent_dim"], sizes: tuple[int, ...]
) -> dict[str, Array]:
    """The collection "codebooks" by k-means: of latents, then of the residuals of the codebooks
    before."""
    codebooks, usage = [], []
    for codebook_key in jax.random.split(key, len(sizes)):
        entries, count = k_means(codebook_key, latents, entries=sizes[0])
        latents = latents - take(entries, nearest(latents, entries))
        codebooks.append(entries)
        usage.append(count / count.sum())
    return {"codebook": jnp.stack(codebooks), "ema_usage": jnp.stack(usage)}


class VectorQuantizer(Bottleneck):
    """A latent frame is the sum of one entry from each codebook.

    Entries are moving averages of the vectors nearest to them; a dead entry is replaced by a random
    vector of a batch. Source: van den Oord et al., "Neural discrete representation
    learning", 2017 (commitment; appendix A.1: moving averages); Zeghidour et al., "SoundStream",
    2021 (residuals, quantiser dropout, dead codes).

    Attributes:
      num_quantizers: number of codebooks.
      quantizer_dropout: fraction of excerpts that use only a random number of codebooks; the others
        have no commitment loss there.
    """

    codebook_size: int = key(1024, at_least(2, 2**18), "entries of each codebook")
    commitment: float = key(
        0.25, at_least(0), "weight of the commitment loss, latents' squared distance from entries"
    )
    decay: float = key(0.99, between(0, 1), "decay of the moving average of entries")
    dead_code_threshold: float = key(
        0.03, between(0, 1), "usage below which an entry is replaced; 1 is the mean usage"
    )
    num_quantizers = 1
    quantizer_dropout = 0.0
    bounded = True
    quantises = True

    @property
    def whitened(self) -> bool:
        """Not whitened: distances of latents must be distances of features."""
        return False

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Sizes of the codebooks."""
        return (self.codebook_size,) * self.num_quantizers

    def weights(self, step: Int[Array, ""]) -> dict[str, Float[Array, ""] | float]:
        """The weight of the commitment."""
        del step
        return {"commitment": self.commitment}

    def setup(self) -> None:
        shape = (self.num_quantizers, self.codebook_size, self.latent_dim)
        # Random until k-means.
        self.codebook = self.variable(
            "codebooks",
            "codebook",
            lambda: 0.1 * jax.random.normal(self.make_rng("params"), shape),
        )
        self.ema_usage = self.variable(
            "codebooks", "ema_usage", lambda: jnp.full(shape[:2], 1 / self.codebook_size)
        )

    def __call__(self, z: Latents, mask: Mask, *, train: bool) -> Latents:
        batch = z.shape[0]
        count = jnp.full((batch,), self.num_quantizers)
        if train and self.quantizer_dropout:
            fewer_key, number_key = jax.random.split(self.make_rng("latents"))
            fewer = jax.random.bernoulli(fewer_key, self.quantizer_dropout, (batch,))
            number = jax.random.randint(number_key, (batch,), 1, self.num_quantizers + 1)
            count = jnp.where(fewer, number, count)
        quantised, commitment, index, vectors = self._quantise(z, count, mask)
        self.add_loss("commitment", commitment)
        if train:
            valid = jnp.ones(z.shape[:2], bool) if mask is None else mask
            self._update(index, vectors, valid[None] & self._is_used(count))
        return z + jax.lax.stop_gradient(quantised - z)

    def codes(self, z: Latents) -> Int[Array, "batch latent_frames codes"]:
        """Index of the entry in each codebook."""
        count = jnp.full((z.shape[0],), self.num_quantizers)
        return jnp.moveaxis(self._quantise(z, count, None)[2], 0, -1)

    def from_codes(self, codes: Int[Array, "batch latent_frames codes"]) -> Latents:
        """Codes to latents; fewer codes than codebooks are those of the first codebooks."""
        first = self.codebook.value[: codes.shape[-1]]
        each = jax.vmap(take, in_axes=(0, -1))(first, codes)
        return each.sum(0)

    def first(self, z: Latents, count: int) -> Latents:
        """Latents quantised by the first ``count`` codebooks."""
        return self._quantise(z, jnp.full((z.shape[0],), count), None)[0]

    def _is_used(self, count: Int[Array, " batch"]) -> Bool[Array, "quantizers batch 1"]:
        return (jnp.arange(self.num_quantizers)[:, None] < count[None])[:, :, None]

    def _quantise(
        self, z: Latents, count: Int[Array, " batch"], mask: Mask
    ) -> tuple[Latents, Array, Array, Array]:
        """Quantised latents, commitment loss, indices ``[quantizers, batch, latent_frames]``, and
        the residual that each codebook quantises.

        Args:
          z: latents.
          count: number of codebooks that each row uses.
          mask: valid latent frames.
        """

        def stage(carry: tuple[Array, Array], x: tuple[Array, Array]) -> tuple[tuple, tuple]:
            residual, total = carry
            codebook, is_used = x
            index = nearest(jax.lax.stop_gradient(residual), codebook)
            chosen = jnp.where(is_used[..., None], take(codebook, index), 0.0)
            distance = jnp.square(residual - jax.lax.stop_gradient(chosen)).mean(-1)
            return (residual - jax.lax.stop_gradient(chosen), total + chosen), (
                index,
                jax.lax.stop_gradient(residual),
                jnp.where(is_used, distance, 0.0),
            )

        start = (z, jnp.zeros_like(z))
        stages = (self.codebook.value, self._is_used(count))
        (_, total), (index, vectors, distances) = jax.lax.scan(stage, start, stages)
        # Outside the loop: devices add their sums once, not once for each codebook.
        loss = masked_mean(jnp.moveaxis(distances, 0, -1), mask).mean()
        return total, loss, index, vectors

    def _update(
        self,
        index: Int[Array, "quantizers batch latent_frames"],
        vectors: Float[Array, "quantizers batch latent_frames latent_dim"],
        mask: Bool[Array, "quantizers batch latent_frames"],
    ) -> None:
        """Moves entries towards the vectors nearest to them, and replaces dead ones."""
        weight = mask.reshape(self.num_quantizers, -1).astype(vectors.dtype)
        vectors = vectors.reshape(self.num_quantizers, -1, self.latent_dim)
        index = index.reshape(self.num_quantizers, -1)
        total = jax.vmap(lambda v, i: segment_sum(v, i, self.codebook_size))
        sums = total(vectors * weight[..., None], index)
        counts = total(weight, index)
        number = jnp.maximum(weight.sum(-1), 1)[:, None]
        # Fractions, since the number of vectors differs between batches.
        usage = self.decay * self.ema_usage.value + (1 - self.decay) * counts / number
        entries = self.decay * self.ema_usage.value[..., None] * self.codebook.value
        entries = entries + (1 - self.decay) * sums / number[..., None]
        has_vectors = (usage > _NO_USAGE)[..., None]
        divisor = jnp.maximum(usage, _NO_USAGE)[..., None]
        entries = jnp.where(has_vectors, entries / divisor, self.codebook.value)
        dead = usage * self.codebook_size < self.dead_code_threshold
        keys = jax.random.split(self.make_rng("latents"), self.num_quantizers)
        # The first valid one of a few random vectors; an entry that has none of them waits for a
        # later step. To choose among all valid ones, devices would need each other's masks.
        draw = functools.partial(
            jax.random.randint,
            shape=(self.codebook_size, _DRAWS),
            minval=0,
            maxval=weight.shape[-1],
        )
        drawn = jax.vmap(draw)(keys)
        valid = jax.vmap(take)(weight[..., None], drawn)[..., 0] > 0
        is_first = valid & (valid.cumsum(-1) == 1)
        fresh = jax.vmap(take)(vectors, jnp.where(is_first, drawn, 0).sum(-1))
        dead = dead & valid.any(-1)
        any_used = weight.sum(-1)[:, None] > 0
        entries = jnp.where(any_used[..., None], entries, self.codebook.value)
        self.codebook.value = jnp.where(dead[..., None], fresh, entries)
        self.ema_usage.value = jnp.where(
            dead, 1 / self.codebook_size, jnp.where(any_used, usage, self.ema_usage.value)
        )


@bottlenecks.register("vq")
class VQ(VectorQuantizer):
    """Vector quantisation: each latent frame is one entry of a codebook."""


@bottlenecks.register("rvq")
class RVQ(VectorQuantizer):
    """Residual vector quantisation: each codebook quantises the residual of those before."""

    num_quantizers: int = key(8, between(1, 129), "codebooks")
    quantizer_dropout: float = key(
        0.5, fraction, "fraction of excerpts that use only a random number of codebooks"
    )
    sizes = "codebooks"

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Quantiser dropout needs more than one codebook."""
        parts.needs(
            cls,
            config,
            "model.rvq.quantizer_dropout",
            "model.rvq.num_quantizers",
            config.model.rvq.num_quantizers > 1,
        )
