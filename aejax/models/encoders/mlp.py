"""Dense layers on each block."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from aejax.models.blocks import NO_CONTEXT, Dense, Dropout, last_layer
from aejax.models.encoders.base import Network
from aejax.parts import encoders


@encoders.register("mlp")
class MLP(Network):
    """Dense layers on each block separately, ending in ``out`` channels."""

    receptive_field = NO_CONTEXT

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> Float[Array, "batch time out"]:
        for _ in range(self.depth):
            x = jax.nn.gelu(Dense(self.width, dtype=self.dtype)(x))
            x = Dropout(self.dropout)(x, train=train)
        return last_layer(self.out, zero_start=self.zero_start, dtype=self.dtype)(x)
