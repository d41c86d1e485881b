"""What one training step changes, and its optimiser."""

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from aejax.models.autoencoder import Variables


@flax.struct.dataclass
class TrainState:
    """Everything the compiled step takes and gives back.

    The fields are Any because JAX puts shapes and shardings where the arrays are.

    Attributes:
      step: steps done, int32.
      params: what is learnt.
      collections: what the model needs beside: "constants", and "codebooks" where there are any.
      opt_state: optax's.
      ema: moving average of params; None where there is none.
      key: raw key data, uint32; step k draws from ``fold_in(key, k)``.
    """

    step: Any
    params: Any
    collections: Any
    opt_state: Any
    ema: Any
    key: Any

    @property
    def variables(self) -> Variables:
        """What the model is applied with."""
        return {"params": self.params, **self.collections}

    @property
    def candidates(self) -> dict[str, Variables]:
        """What may become the result: the variables, and those of the moving average, by name."""
        averaged = {} if self.ema is None else {"ema": {"params": self.ema, **self.collections}}
        return {"raw": self.variables, **averaged}


def learning_rate(config: ConfigDict) -> optax.Schedule:
    """Linear warm-up (over half of the updates at most), then ``config.schedule`` to the last."""
    updates = max(config.steps // config.accumulate, 1)
    warmup = min(config.warmup_steps, updates // 2)
    rest = max(updates - warmup, 1)
    after = SCHEDULES[config.schedule](config.learning_rate, rest)
    rise = optax.linear_schedule(0.0, config.learning_rate, max(warmup, 1))
    return optax.join_schedules([rise, after], [warmup]) if warmup else after


# By name, of the highest rate and the updates left.
SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "cosine": optax.cosine_decay_schedule,
    "linear": lambda rate, updates: optax.linear_schedule(rate, 0.0, updates),
    # To a hundredth.
    "exponential": lambda rate, updates: optax.exponential_decay(rate, updates, 0.01),
    "constant": lambda rate, updates: optax.constant_schedule(rate),
}

# By name, how gradients become updates before the learning rate, given the decay of the second
# moment and that of the weights.
OPTIMIZERS: dict[
    str, Callable[[float, optax.GradientTransformation], optax.GradientTransformation]
] = {
    "adamw": lambda b2, decay: optax.chain(optax.scale_by_adam(b2=b2), decay),
    "nadamw": lambda b2, decay: optax.chain(optax.scale_by_adam(b2=b2, nesterov=True), decay),
    "lamb": lambda b2, decay: optax.chain(
        optax.scale_by_adam(b2=b2), decay, optax.scale_by_trust_ratio()
    ),
    "lion": lambda b2, decay: optax.chain(optax.scale_by_lion(b2=b2), decay),
    "rmsprop": lambda b2, decay: optax.chain(optax.scale_by_rms(decay=b2), decay),
    "sgd": lambda b2, decay: optax.chain(optax.trace(decay=0.9, nesterov=True), decay),
}


def decays(params: Variables, *, pca_start: bool) -> Any:
    """Which parameters decay: matrices, but for linear maps that begin at PCA: decay would take
    from them what is right already."""

    def one(path: tuple, leaf: jax.Array) -> bool:
        begins_right = pca_start and jax.tree_util.DictKey("linear") in path
        return leaf.ndim > 1 and not begins_right

    return jax.tree_util.tree_map_with_path(one, params)


def optimiser(config: ConfigDict, *, pca_start: bool) -> optax.GradientTransformation:
    """``config.optimizer`` behind clipping by global norm, with decay of what `decays`. With
    ``accumulate``, on the mean gradient of so many batches."""
    decay = optax.add_decayed_weights(
        config.weight_decay, functools.partial(decays, pca_start=pca_start)
    )
    tx = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        OPTIMIZERS[config.optimizer](config.adam_b2, decay),
        optax.scale_by_learning_rate(learning_rate(config)),
    )
    if config.accumulate == 1:
        return tx
    return optax.MultiSteps(tx, config.accumulate).gradient_transformation()


def create(
    variables: Variables, tx: optax.GradientTransformation, key: jax.Array, *, ema: bool = False
) -> TrainState:
    """The state before the first step."""
    params = variables["params"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        collections={name: value for name, value in variables.items() if name != "params"},
        opt_state=jax.jit(tx.init)(params),
        ema=jax.tree.map(jnp.copy, params) if ema else None,
        key=jax.random.key_data(key),
    )
