"""Latent refinement: gradient descent on latents, through the decoder.

PCA's encoder gives the best latents for its decoder. A network's encoder only approximates them,
less well for sounds unlike its training data. Source: Kim et
al., "Semi-amortized variational autoencoders", 2018; Campos et al., "Content adaptive optimization
for neural image compression", 2019.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from aejax.evaluation.evaluate import Decode, Encode

# Initial learning rate, for latents of about unit variance.
_LEARNING_RATE = 0.05


@functools.cache
def refined(encode: Encode, decode: Decode, steps: int) -> Encode:
    """An encoder followed by ``steps`` of Adam on the squared error of the decoded features.

    The learning rate decays to 0. The result is each row's best latents of all steps. Equal
    arguments give the same function object, which is compiled once.
    """
    tx = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps), b2=0.99)

    def encode_refined(
        variables: Any, features: Float[Array, "batch frames bins"]
    ) -> Float[Array, "batch latent_frames latent_dim"]:
        def errors(latents: Array) -> Array:
            return jnp.square(decode(variables, latents) - features).sum((1, 2))

        def better(best: tuple[Array, Array], latents: Array, error: Array) -> tuple[Array, Array]:
            is_better = error < best[1]
            latents = jnp.where(is_better[:, None, None], latents, best[0])
            return latents, jnp.minimum(error, best[1])

        def step(carry: tuple[Array, Any, Any], _: None) -> tuple[tuple[Array, Any, Any], None]:
            latents, state, best = carry
            error, backward = jax.vjp(errors, latents)
            (gradient,) = backward(jnp.ones_like(error))
            best = better(best, latents, error)
            # optax mixes its integer step count with floats.
            with jax.numpy_dtype_promotion("standard"):
                updates, state = tx.update(gradient, state)
            return (optax.apply_updates(latents, updates), state, best), None

        latents = encode(variables, features)
        best = latents, jnp.full(latents.shape[:1], jnp.inf)
        start = (latents, tx.init(latents), best)
        (latents, _, best), _ = jax.lax.scan(step, start, None, length=steps)
        return better(best, latents, errors(latents))[0]

    return encode_refined
