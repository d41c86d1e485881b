"""Who tries to tell speakers by latents, so that an encoder learns to give nothing away.

Source: Ganin and Lempitsky, "Unsupervised domain adaptation by backpropagation", 2015, whose
gradient reversal this is; for voices, Chou et al., "Multi-target voice conversion without parallel
data by adversarially learning disentangled audio representations", 2018.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from aejax.models.blocks import ConvStack


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def reversed_gradient(x: Array, strength: float) -> Array:
    """``x``, whose gradient comes back turned over, times ``strength``."""
    del strength
    return x


reversed_gradient.defvjp(
    lambda x, strength: (x, None), lambda strength, _, gradient: (-strength * gradient,)
)


class Adversary(nn.Module):
    """Tells speakers by latents, a stretch of latent frames at a time.

    Attributes:
      speakers: how many there are.
      strength: of what the encoder feels of it.
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
        """How far off it is: cross-entropy, nats, mean over the latent frames that count of rows
        whose speaker is known."""
        given = reversed_gradient(latents, self.strength)
        network = ConvStack(
            out=self.speakers, width=128, depth=2, kernel_size=5, dropout=0.0, zero_start=False
        )
        logits = network(given, train=True)
        wanted = jnp.broadcast_to(jnp.maximum(speaker - 1, 0)[:, None], logits.shape[:2])
        missed = optax.softmax_cross_entropy_with_integer_labels(logits, wanted)
        counted = mask * (speaker > 0).astype(mask.dtype)[:, None]
        return (missed * counted).sum() / jnp.maximum(counted.sum(), 1)
