"""Bottlenecks: what happens to the latents between encoder and decoder.

A bottleneck takes ``channels`` numbers of each latent frame from the encoder and gives
``latent_dim`` to the decoder. What it adds to the loss it sows into the collection "losses", by
name, a scalar each; `weights` says how much each counts at a step.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Latents = Float[Array, "batch latent_frames latent_dim"]
Mask = Bool[Array, "batch latent_frames"] | None


def masked_mean(values: Float[Array, "batch latent_frames *rest"], mask: Mask) -> Array:
    """Mean over the latent frames that count, ``[*rest]``; 0 where there is none."""
    if mask is None:
        return values.mean((0, 1))
    weight = mask.astype(values.dtype).reshape(*mask.shape, *[1] * (values.ndim - 2))
    return (values * weight).sum((0, 1)) / jnp.maximum(weight.sum(), 1)


class Bottleneck(nn.Module):
    """Latents pass as they are: ``latent_dim`` real numbers per latent frame.

    Attributes:
      latent_dim: floats in a latent frame.
    """

    latent_dim: int

    @property
    def channels(self) -> int:
        """Numbers of each latent frame that the encoder has to give."""
        return self.latent_dim

    @property
    def whitened(self) -> bool:
        """Whether latents that begin at PCA each have unit variance, or all one scale."""
        return True

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Of the codes that stand for a latent frame; none where latents are real numbers."""
        return ()

    @property
    def random(self) -> bool:
        """Whether what is learnt from is random latents, where a key for "latents" is given; in
        use, without a key, they never are."""
        return False

    def weights(self, step: Int[Array, ""]) -> dict[str, Float[Array, ""] | float]:
        """By name, how much of each sown loss counts at a step."""
        del step
        return {}

    def __call__(
        self, z: Float[Array, "batch latent_frames channels"], mask: Mask, *, train: bool
    ) -> Latents:
        del mask, train
        return z

    def add_loss(self, name: str, value: Float[Array, ""]) -> None:
        """Sows a loss."""
        self.sow("losses", name, value, init_fn=lambda: None, reduce_fn=lambda _, new: new)


class Tanh(Bottleneck):
    """Bounded latents: ``bound * tanh(z / bound)``, near the identity where z is small.

    Attributes:
      bound: what they stay below in magnitude.
    """

    bound: float

    def __call__(self, z: Latents, mask: Mask, *, train: bool) -> Latents:
        del mask, train
        return self.bound * jnp.tanh(z / self.bound)


class Noise(Tanh):
    """Bounded latents with Gaussian noise added in learning, so that no number can carry more than
    its signal-to-noise ratio lets through. The bound keeps the encoder from drowning the noise.

    Attributes:
      level: standard deviation of the noise.
    """

    level: float

    @property
    def random(self) -> bool:
        """Noise is added."""
        return True

    def __call__(self, z: Latents, mask: Mask, *, train: bool) -> Latents:
        z = super().__call__(z, mask, train=train)
        if not self.has_rng("latents"):
            return z
        return z + self.level * jax.random.normal(self.make_rng("latents"), z.shape, z.dtype)


# Where the logarithm of the variance begins: latents of nearly no noise, as PCA's.
_FIRST_LOG_VARIANCE = -4.0


class VAE(Bottleneck):
    """Gaussian latents, sampled in learning, their mean in use.

    Source: Kingma and Welling, "Auto-encoding variational Bayes", 2014; free bits from Kingma et
    al., "Improved variational inference with inverse autoregressive flow", 2016, appendix C.8.

    Attributes:
      kl_weight: of the KL divergence, which is the mean over latents, in nats.
      warmup_steps: over which that weight rises from 0.
      free_bits: of each latent, that cost nothing.
    """

    kl_weight: float
    warmup_steps: int
    free_bits: float

    @property
    def random(self) -> bool:
        """Latents are sampled."""
        return True

    @property
    def channels(self) -> int:
        """Means and logarithms of variances."""
        return 2 * self.latent_dim

    def weights(self, step: Int[Array, ""]) -> dict[str, Float[Array, ""] | float]:
        """The weight of the KL divergence, on its way up."""
        part = jnp.minimum(step.astype(jnp.float32) / max(self.warmup_steps, 1), 1.0)
        return {"kl": self.kl_weight * (part if self.warmup_steps else 1.0)}

    def __call__(
        self, z: Float[Array, "batch latent_frames channels"], mask: Mask, *, train: bool
    ) -> Latents:
        del train
        mean, log_variance = jnp.split(z, 2, axis=-1)
        log_variance = jnp.clip(log_variance + _FIRST_LOG_VARIANCE, -20.0, 10.0)
        nats = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance)
        nats = masked_mean(nats, mask)
        self.add_loss("kl", jnp.maximum(nats, self.free_bits * math.log(2)).mean())
        if not self.has_rng("latents"):
            return mean
        noise = jax.random.normal(self.make_rng("latents"), mean.shape, mean.dtype)
        return mean + jnp.exp(log_variance / 2) * noise


class Ordered(Bottleneck):
    """Nested dropout: in training, each excerpt keeps its first k latents only, k drawn
    log-uniformly, so that latents come out sorted by importance.

    Another objective than that of a model of one size: it is the mean error over all sizes.
    Source: Rippel, Gelbart and Adams, "Learning ordered representations with nested dropout", 2014.
    """

    @property
    def random(self) -> bool:
        """A random number of latents is kept."""
        return True

    def __call__(self, z: Latents, mask: Mask, *, train: bool) -> Latents:
        del mask, train
        if not self.has_rng("latents"):
            return z
        place = jax.random.uniform(self.make_rng("latents"), (z.shape[0], 1, 1))
        kept = jnp.exp(place * math.log(self.latent_dim + 1))  # from 1 to latent_dim + 1
        return _first(z, jnp.floor(kept))

    def first(self, z: Latents, kept: int) -> Latents:
        """Latents with all but the first ``kept`` set to 0."""
        return _first(z, jnp.full((1, 1, 1), kept, z.dtype))


def _first(z: Latents, kept: Float[Array, "#batch 1 1"]) -> Latents:
    order = jnp.arange(z.shape[-1], dtype=z.dtype)[None, None]
    return jnp.where(order < kept, z, jnp.zeros_like(z))


class FSQ(Tanh):
    """Finite scalar quantisation: each latent is rounded to one of a few levels, evenly spaced
    behind a tanh; gradients pass as if it were not.

    Source: Mentzer et al., "Finite scalar quantization: VQ-VAE made simple", 2024; here the
    outermost levels lie on the bound itself, for even and odd numbers of levels alike.

    Attributes:
      levels: of the first latent, the second and so on, from the start again where they run out.
    """

    levels: tuple[int, ...]

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Levels of each latent."""
        return tuple(self.levels[i % len(self.levels)] for i in range(self.latent_dim))

    def __call__(self, z: Latents, mask: Mask, *, train: bool) -> Latents:
        del mask, train
        steps, place = self._place(z)
        rounded = place + jax.lax.stop_gradient(jnp.round(place) - place)
        return self.bound * (2 * rounded / steps - 1)

    def codes(
        self, z: Float[Array, "batch latent_frames channels"]
    ) -> Int[Array, "batch latent_frames codes"]:
        """The levels that latents are rounded to, from 0."""
        return jnp.round(self._place(z)[1]).astype(jnp.int32)

    def _place(self, z: Latents) -> tuple[Array, Array]:
        """Steps between the outermost levels, and where on them the latents are."""
        steps = jnp.asarray(self.codebook_sizes, z.dtype)[None, None] - 1
        return steps, (jnp.tanh(z / self.bound) + 1) / 2 * steps
