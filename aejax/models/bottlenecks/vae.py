"""Variational latents."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from aejax.models.bottlenecks.base import Bottleneck, Latents, Mask, masked_mean
from aejax.parts import at_least, bottlenecks, key

# Initial log-variance: little noise, so that latents start close to those of PCA.
_FIRST_LOG_VARIANCE = -4.0


@bottlenecks.register("vae")
class VAE(Bottleneck):
    """Gaussian latents: sampled in training, the mean otherwise.

    Source: Kingma and Welling, "Auto-encoding variational Bayes", 2014; free bits from Kingma et
    al., "Improved variational inference with inverse autoregressive flow", 2016, appendix C.8.
    """

    kl_weight: float = key(
        1e-3, at_least(0), "weight of the KL divergence, in nats, averaged over latents"
    )
    warmup_steps: int = key(200, at_least(0), "steps over which kl_weight rises from 0")
    free_bits: float = key(0.0, at_least(0), "bits per latent without loss")

    @property
    def random(self) -> bool:
        """Latents are sampled."""
        return True

    @property
    def channels(self) -> int:
        """Means and log-variances."""
        return 2 * self.latent_dim

    def weights(self, step: Int[Array, ""]) -> dict[str, Float[Array, ""] | float]:
        """The weight of the KL divergence, which rises during the warm-up."""
        fraction = jnp.minimum(step.astype(jnp.float32) / max(self.warmup_steps, 1), 1.0)
        return {"kl": self.kl_weight * (fraction if self.warmup_steps else 1.0)}

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
