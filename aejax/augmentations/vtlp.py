"""Another throat."""

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
    """Vocal tract length perturbation of the encoder's input: bins stretched along frequency, as by
    another throat."""

    range: tuple[float, float] = key(
        (1.0, 1.0), pair(0.25, 4), "lowest and highest factor, log-uniform; (1.0, 1.0) is off"
    )

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Levels along frequency to be stretched."""
        name, stretch = config.representation.name, tuple(config.augment.vtlp.range)
        if stretch != (1.0, 1.0) and not representations[name].levels:
            known = [other for other, part in representations.items() if part.levels]
            raise UserError(
                f"config.augment.vtlp.range={stretch} is of levels along frequency, which"
                f" representation.name={name!r} does not have; {' and '.join(known)} do"
            )

    @property
    def is_on(self) -> bool:
        """Whether there is another factor than 1."""
        return self.range != (1.0, 1.0)

    def change_features(
        self,
        key: jax.Array,
        features: Float[Array, "batch frames bins"],
        fill: Float[Array, " bins"],
        channels: int,
    ) -> Float[Array, "batch frames bins"]:
        """Features stretched along frequency, each row by a factor of its own."""
        del fill
        return random_stretch(key, features, self.range, channels=channels)


def random_stretch(
    key: jax.Array,
    features: Float[Array, "batch frames bins"],
    stretch: tuple[float, float],
    *,
    channels: int = 1,
) -> Float[Array, "batch frames bins"]:
    """Each row with its bins stretched by a log-uniform factor, as by a throat of another length:
    what was in bin k is in bin k times that; above the highest there is what is in it.

    Source: Jaitly and Hinton, "Vocal tract length perturbation (VTLP) improves speech recognition",
    2013, with one straight line for a warp.
    """
    rows, frames, bins = features.shape
    lowest, highest = math.log(stretch[0]), math.log(stretch[1])
    factor = jnp.exp(jax.random.uniform(key, (rows,), minval=lowest, maxval=highest))
    own = bins // channels
    place = jnp.arange(own, dtype=features.dtype)
    # How much of bin j, in columns, there is in bin k: a straight line between neighbours.
    source = jnp.clip(place[None] / factor[:, None], 0.0, own - 1.0)
    weights = jnp.maximum(1 - jnp.abs(source[:, None, :] - place[None, :, None]), 0.0)
    split = features.reshape(rows, frames * channels, own)
    found = jnp.einsum("nfj,njk->nfk", split, weights, precision="highest")
    return found.reshape(rows, frames, bins)
