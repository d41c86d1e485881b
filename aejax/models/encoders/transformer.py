"""A transformer whose tokens are blocks of frames."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from aejax.models.blocks import Dense, Dropout, Dtype, last_layer
from aejax.models.encoders.base import Network
from aejax.parts import at_least, encoders, key
from aejax.runtime.errors import UserError

# Ratio of the longest wavelength of the rotations to the shortest, 2 pi tokens.
_LONGEST = 10_000.0


def rotary(x: Float[Array, "batch time heads size"]) -> Float[Array, "batch time heads size"]:
    """Rotary position embedding: pairs of channels rotated by angles that grow with time, so that
    the product of two tokens depends on their distance.

    Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021; here a
    pair is channels ``i`` and ``i + size / 2``.
    """
    steps, half = x.shape[1], x.shape[-1] // 2
    rate = _LONGEST ** (-np.arange(half) / half)
    xp = np if isinstance(steps, int) else jnp  # symbolic length (export)
    angle = (xp.arange(steps, dtype=float)[:, None] * rate[None])[None, :, None]
    cos, sin = (jnp.asarray(f(angle), x.dtype) for f in (xp.cos, xp.sin))
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


class TransformerBlock(nn.Module):
    """Residual attention and feed-forward layers, each after layer normalisation.

    Source: Vaswani et al., "Attention is all you need", 2017; pre-norm as in Xiong et al.,
    "On layer normalization in the transformer architecture", 2020.
    """

    heads: int
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> Float[Array, "batch time channels"]:
        batch, steps, width = x.shape
        drop = functools.partial(Dropout(self.dropout), train=train)
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = Dense(3 * width, dtype=self.dtype)(y)
        query, key, value = jnp.split(y.reshape(batch, steps, 3 * self.heads, -1), 3, axis=2)
        y = jax.nn.dot_product_attention(rotary(query), rotary(key), value)
        x = x + drop(Dense(width, dtype=self.dtype)(y.reshape(batch, steps, width)))
        y = nn.LayerNorm(dtype=self.dtype)(x)
        y = jax.nn.gelu(Dense(4 * width, dtype=self.dtype)(y))
        return x + drop(Dense(width, dtype=self.dtype)(y))


@encoders.register("transformer")
class Transformer(Network):
    """Attention over all blocks of frames, in both directions; ends in ``out`` channels."""

    heads: int = key(
        8, at_least(1, 2**12), "attention heads; widths must be multiples of 2 x heads"
    )
    receptive_field = (math.inf, math.inf)

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """An even size per head."""
        own = config.model.transformer
        for name in ("width", "decoder_width"):
            if own[name] % (2 * own.heads):
                raise UserError(
                    f"config.model.transformer.{name}={own[name]} must be a multiple of 2 x heads"
                    f" = {2 * own.heads}"
                )

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> Float[Array, "batch time out"]:
        x = Dense(self.width, dtype=self.dtype)(x)
        for _ in range(self.depth):
            x = TransformerBlock(self.heads, self.dropout, self.dtype)(x, train=train)
        x = nn.LayerNorm(dtype=self.dtype)(x)
        return last_layer(self.out, zero_start=self.zero_start, dtype=self.dtype)(x)
