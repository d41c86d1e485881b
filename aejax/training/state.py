"""What one training step changes, and its optimizer."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from aejax import parts
from aejax.models.autoencoder import Variables
from aejax.optimizers import SCHEDULES


@flax.struct.dataclass
class TrainState:
    """Everything the compiled step takes and gives back.

    The fields are Any because JAX puts shapes and shardings where the arrays are.

    Attributes:
      step: steps done, int32.
      params: what is learnt.
      collections: what the model needs beside: "constants", and "codebooks" and "dropout" where
        there are any.
      opt_state: optax's, with the learning rate and the weight decay among its arrays.
      weights: of the loss's terms, by name, float32 ``[]`` each.
      ema: moving average of params; None where there is none.
      key: raw key data, uint32; step k draws from ``fold_in(key, k)``.
    """

    step: Any
    params: Any
    collections: Any
    opt_state: Any
    weights: Any
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


def schedule(config: ConfigDict) -> optax.Schedule:
    """The learning rate over the highest, by update: linear warm-up (over half of the updates at
    most), then ``config.schedule`` to the last."""
    updates = max(config.steps // config.accumulate, 1)
    warmup = min(config.warmup_steps, updates // 2)
    rest = max(updates - warmup, 1)
    after = SCHEDULES[config.schedule](1.0, rest)
    rise = optax.linear_schedule(0.0, 1.0, max(warmup, 1))
    return optax.join_schedules([rise, after], [warmup]) if warmup else after


def learning_rate(config: ConfigDict) -> optax.Schedule:
    """The learning rate by update."""
    part = schedule(config)
    return lambda update: config.learning_rate * part(update)


def decays(params: Variables, *, pca_start: bool) -> Any:
    """Which parameters decay: matrices, but for linear maps that begin at PCA: decay would take
    from them what is right already."""

    def one(path: tuple, leaf: jax.Array) -> bool:
        begins_right = pca_start and jax.tree_util.DictKey("linear") in path
        return leaf.ndim > 1 and not begins_right

    return jax.tree_util.tree_map_with_path(one, params)


def make_optimizer(config: ConfigDict, *, pca_start: bool) -> optax.GradientTransformation:
    """``config.optimizer`` behind clipping by global norm, with decay of what `decays`. With
    ``accumulate``, on the mean gradient of so many batches."""

    # What is injected is kept in the optimizer's state, as arrays: members of a population may each
    # have their own in one compiled program.
    @optax.inject_hyperparams
    def injected(learning_rate: Any, weight_decay: Any) -> optax.GradientTransformation:
        decay = optax.add_decayed_weights(
            weight_decay, functools.partial(decays, pca_start=pca_start)
        )
        return optax.chain(
            optax.clip_by_global_norm(config.clip_norm),
            parts.optimizers.build(config.optimizer, config)(decay),
            optax.scale_by_schedule(schedule(config)),
            optax.scale_by_learning_rate(learning_rate),
        )

    tx = injected(learning_rate=config.learning_rate, weight_decay=config.weight_decay)
    if config.accumulate == 1:
        return tx
    return optax.MultiSteps(tx, config.accumulate).gradient_transformation()


def create(
    variables: Variables,
    tx: optax.GradientTransformation,
    key: jax.Array,
    weights: Mapping[str, float],
    *,
    ema: bool = False,
) -> TrainState:
    """The state before the first step; ``weights``: of the loss's terms, by name."""
    params = variables["params"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        collections={name: value for name, value in variables.items() if name != "params"},
        opt_state=jax.jit(tx.init)(params),
        weights={name: jnp.float32(weight) for name, weight in weights.items()},
        ema=jax.tree.map(jnp.copy, params) if ema else None,
        key=jax.random.key_data(key),
    )
