"""Optimizers and learning-rate schedules."""

import dataclasses
from collections.abc import Callable

import optax

from aejax.parts import between, key, optimizers

register = optimizers.register


@optimizers.register("adamw")
@dataclasses.dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """

    beta2: float = key(0.99, between(0, 1), "decay of the second moment")

    def __call__(self, decay: optax.GradientTransformation) -> optax.GradientTransformation:
        """Updates at a learning rate of 1; ``decay`` adds that of the weights."""
        return optax.chain(optax.scale_by_adam(b2=self.beta2), decay)


@optimizers.register("sgd")
@dataclasses.dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with Nesterov momentum."""

    momentum: float = key(0.9, between(0, 1), "decay of the running sum of gradients")

    def __call__(self, decay: optax.GradientTransformation) -> optax.GradientTransformation:
        """Updates at a learning rate of 1; ``decay`` adds that of the weights."""
        return optax.chain(optax.trace(decay=self.momentum, nesterov=True), decay)


# By name: functions of the highest rate and the number of updates after the warm-up.
SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "cosine": optax.cosine_decay_schedule,
    "linear": lambda rate, updates: optax.linear_schedule(rate, 0.0, updates),
    # To a hundredth.
    "exponential": lambda rate, updates: optax.exponential_decay(rate, updates, 0.01),
    "constant": lambda rate, updates: optax.constant_schedule(rate),
}
