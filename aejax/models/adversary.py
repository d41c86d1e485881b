"""Speaker adversary: a classifier of speakers, with reversed gradients for the encoder.

Source: Ganin and Lempitsky, "Unsupervised domain adaptation by backpropagation", 2015 (gradient
reversal); for voices, Chou et al., "Multi-target voice conversion without parallel
data by adversarially learning disentangled audio representations", 2018.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from aejax.models.encoders.conv import ConvStack


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def reversed_gradient(x: Array, strength: float) -> Array:
    """``x``; its gradient is multiplied by ``-strength``."""
    del strength
    return x


reversed_gradient.defvjp(
    lambda x, strength: (x, None), lambda strength, _, gradient: (-strength * gradient,)
)


class Adversary(nn.Module):
    """Loss of a convolutional classifier of the speaker of each latent frame.

    Attributes:
      speakers: number of speakers.
      strength: gradient-reversal coefficient λ.
    """

    speakers: int
    strength: float

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "batch latent_frames latent_dim"],
        mask: Float[Array, "batch latent_frames"],
        speaker: Int[Array, " batch"],
    ) -> Float[Array, ""]:
        """Cross-entropy in nats, the mean over valid latent frames of rows with a known speaker."""
        reversed_latents = reversed_gradient(latents, self.strength)
        network = ConvStack(
            out=self.speakers, width=128, depth=2, kernel_size=5, dropout=0.0, zero_start=False
        )
        logits = network(reversed_latents, train=True)
        target = jnp.broadcast_to(jnp.maximum(speaker - 1, 0)[:, None], logits.shape[:2])
        loss = optax.softmax_cross_entropy(
            logits, jax.nn.one_hot(target, logits.shape[-1], dtype=logits.dtype)
        )
        weight = mask * (speaker > 0).astype(mask.dtype)[:, None]
        return (loss * weight).sum() / jnp.maximum(weight.sum(), 1)
