"""Vocal tract length perturbation.

Source: Jaitly and Hinton, "Vocal tract length perturbation (VTLP) improves speech recognition",
2013; here the warp is linear.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from aejax.augmentations.base import Augmentation
from aejax.parts import augmentations, key, pair, representations
from aejax.runtime.errors import UserError


@augmentations.register("vtlp")
@dataclasses.dataclass(frozen=True)
class VTLP(Augmentation):
    """Vocal tract length perturbation of the encoder's input: bins stretched along frequency."""

    range: tuple[float, float] = key(
        (1.0, 1.0), pair(0.25, 4), "lowest and highest factor, log-uniform; (1.0, 1.0) is off"
    )

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Checks that the features are levels along frequency."""
        name, stretch = config.representation.name, tuple(config.augment.vtlp.range)
        if stretch != (1.0, 1.0) and not representations[name].levels:
            known = [other for other, part in representations.items() if part.levels]
            raise UserError(
                f"config.augment.vtlp.range={stretch} needs levels along frequency, which"
                f" representation.name={name!r} does not have; {' and '.join(known)} do"
            )

    @property
    def is_on(self) -> bool:
        """Whether there are factors other than 1."""
        return self.range != (1.0, 1.0)

    def change_features(
        self,
        key: jax.Array,
        features: Float[Array, "batch frames bins"],
        fill: Float[Array, " bins"],
        channels: int,
    ) -> Float[Array, "batch frames bins"]:
        """Features stretched by a random factor per row: bin k moves to bin ``factor * k``.

        Values are interpolated linearly; bins beyond the highest repeat it.
        """
        del fill
        rows, frames, bins = features.shape
        lowest, highest = math.log(self.range[0]), math.log(self.range[1])
        factor = jnp.exp(jax.random.uniform(key, (rows,), minval=lowest, maxval=highest))
        size = bins // channels
        index = jnp.arange(size, dtype=features.dtype)
        source = jnp.clip(index[None] / factor[:, None], 0.0, size - 1.0)
        # weights[n, j, k]: weight of source bin j in output bin k of row n.
        weights = jnp.maximum(1 - jnp.abs(source[:, None, :] - index[None, :, None]), 0.0)
        split = features.reshape(rows, frames * channels, size)
        stretched = jnp.einsum("nfj,njk->nfk", split, weights, precision="highest")
        return stretched.reshape(rows, frames, bins)
