"""Matrix products in full float32."""

import functools

import jax
import jax.numpy as jnp

# Accelerators would round the factors to 8 or 11 bits, an error visible in dB.
EXACT = jax.lax.Precision.HIGHEST
matmul = functools.partial(jnp.matmul, precision=EXACT)
