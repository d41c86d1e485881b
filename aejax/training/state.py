"""The training state and its optimizer."""

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
from aejax.runtime.pytrees import Leaf, Tree


@flax.struct.dataclass
class TrainState:
    """Everything the compiled step updates.

    Attributes:
      step: number of steps, int32.
      params: trained parameters.
      collections: other variables of the model: "constants", "codebooks", "dropout".
      opt_state: state of the optimizer, including learning rate and weight decay.
      weights: weight of each loss by name, float32 ``[]``.
      ema: moving average of params, or None.
      key: raw key data, uint32; step k draws from ``fold_in(key, k)``.
    """

    step: Leaf
    params: Tree
    collections: Tree
    opt_state: optax.OptState
    weights: Tree
    ema: Tree | None
    key: Leaf

    @property
    def variables(self) -> Variables:
        """All variables of the model."""
        return {"params": self.params, **self.collections}

    @property
    def candidates(self) -> dict[str, Variables]:
        """Variables to validate, by name: "raw", and "ema" if there is a moving average."""
        averaged = {} if self.ema is None else {"ema": {"params": self.ema, **self.collections}}
        return {"raw": self.variables, **averaged}


def schedule(config: ConfigDict) -> optax.Schedule:
    """The learning rate by update, relative to the highest: warm-up (at most half of the updates),
    then ``config.schedule``."""
    updates = max(config.steps // config.grad_accum_steps, 1)
    warmup = min(config.warmup_steps, updates // 2)
    rest = max(updates - warmup, 1)
    after = SCHEDULES[config.schedule](1.0, rest)
    rise = optax.linear_schedule(0.0, 1.0, max(warmup, 1))
    return optax.join_schedules([rise, after], [warmup]) if warmup else after


def learning_rate(config: ConfigDict) -> optax.Schedule:
    """The learning rate by update."""
    relative = schedule(config)
    return lambda update: config.learning_rate * relative(update)


def decays(params: Variables, *, pca_start: bool) -> Any:
    """Weight-decay mask: matrices, except linear maps initialised from PCA."""

    def is_decayed(path: tuple, leaf: jax.Array) -> bool:
        from_pca = pca_start and jax.tree_util.DictKey("linear") in path
        return leaf.ndim > 1 and not from_pca

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def make_optimizer(config: ConfigDict, *, pca_start: bool) -> optax.GradientTransformation:
    """Clipping by global norm, then ``config.optimizer`` with weight decay (see `decays`); on the
    mean gradient of ``grad_accum_steps`` batches."""

    # Injected hyperparameters are arrays in the optimizer's state, so that members of a population,
    # which share one compiled program, may have different ones.
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
    if config.grad_accum_steps == 1:
        return tx
    return optax.MultiSteps(tx, config.grad_accum_steps).gradient_transformation()


def create(
    variables: Variables,
    tx: optax.GradientTransformation,
    key: jax.Array,
    weights: Mapping[str, float],
    *,
    ema: bool = False,
) -> TrainState:
    """The state before the first step; ``weights``: weight of each loss by name."""
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
