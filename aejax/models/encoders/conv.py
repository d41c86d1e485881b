"""Residual convolutions over blocks."""

import flax.linen as nn
from jaxtyping import Array, Float

from aejax.models.blocks import Dense, ReceptiveField, ResidualBlock, last_layer, same_padding
from aejax.models.encoders.base import Network
from aejax.parts import at_least, encoders, key


@encoders.register("conv")
class ConvStack(Network):
    """Residual convolutions over blocks, ending in ``out`` channels."""

    kernel_size: int = key(3, at_least(1, 2**12), "latent frames; kernel of each residual block")

    @property
    def receptive_field(self) -> ReceptiveField:
        """In steps."""
        before, after = same_padding(self.kernel_size)
        return self.depth * before, self.depth * after

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time channels"], *, train: bool
    ) -> Float[Array, "batch time out"]:
        x = Dense(self.width, dtype=self.dtype)(x)
        for _ in range(self.depth):
            x = ResidualBlock(self.kernel_size, self.dropout, self.dtype)(x, train=train)
        x = nn.LayerNorm(dtype=self.dtype)(x)
        return last_layer(self.out, zero_start=self.zero_start, dtype=self.dtype)(x)
