"""Loss terms: each a pure function to a scalar."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def masked_mean_square(
    error: Float[Array, "batch frames bins"], mask: Bool[Array, "batch frames"]
) -> Float[Array, ""]:
    """Mean of squares over the frames where ``mask`` is true; 0 where none is."""
    weight = mask.astype(error.dtype)[..., None]
    count = weight.sum() * error.shape[-1]
    return (jnp.square(error) * weight).sum() / jnp.maximum(count, 1)
