"""Losses of standardised features."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from aejax.parts import at_least, key, losses


def masked_mean(
    values: Float[Array, "batch frames bins"], mask: Bool[Array, "batch frames"]
) -> Float[Array, ""]:
    """Mean over the frames where ``mask`` is true; 0 if there are none."""
    weight = mask.astype(values.dtype)[..., None]
    count = weight.sum() * values.shape[-1]
    return (values * weight).sum() / jnp.maximum(count, 1)


@dataclasses.dataclass(frozen=True)
class FeatureLoss:
    """A loss of features: a mean over valid frames."""

    weight: float = key(0.0, at_least(0), "in the sum that is minimised; 0 is off", per_member=True)

    def __call__(
        self, error: Float[Array, "batch frames bins"], mask: Bool[Array, "batch frames"]
    ) -> Float[Array, ""]:
        """The loss, over valid frames, of ``error``: output minus target, standardised."""
        raise NotImplementedError


@losses.register("l1")
@dataclasses.dataclass(frozen=True)
class L1(FeatureLoss):
    """Mean absolute error of features."""

    def __call__(
        self, error: Float[Array, "batch frames bins"], mask: Bool[Array, "batch frames"]
    ) -> Float[Array, ""]:
        return masked_mean(jnp.abs(error), mask)


@losses.register("l2")
@dataclasses.dataclass(frozen=True)
class L2(FeatureLoss):
    """Mean squared error of features."""

    weight: float = key(1.0, at_least(0), "in the sum that is minimised; 0 is off", per_member=True)

    def __call__(
        self, error: Float[Array, "batch frames bins"], mask: Bool[Array, "batch frames"]
    ) -> Float[Array, ""]:
        return masked_mean(jnp.square(error), mask)
