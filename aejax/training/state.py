"""What one training step changes, and its optimiser."""

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
      constants: what the model needs and does not learn.
      opt_state: optax's.
      key: raw key data, uint32; step k draws from ``fold_in(key, k)``.
    """

    step: Any
    params: Any
    constants: Any
    opt_state: Any
    key: Any

    @property
    def variables(self) -> Variables:
        """What the model is applied with."""
        return {"params": self.params, "constants": self.constants}


def learning_rate(config: ConfigDict) -> optax.Schedule:
    """Linear warm-up (over half of the steps at most), then a cosine down to zero at the last."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=min(config.warmup_steps, config.steps // 2),
        decay_steps=max(config.steps, 1),
    )


def optimiser(config: ConfigDict) -> optax.GradientTransformation:
    """AdamW behind clipping by global norm; biases, norms and scales do not decay."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            learning_rate(config),
            b2=config.adam_b2,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params),
        ),
    )


def create(variables: Variables, tx: optax.GradientTransformation, key: jax.Array) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.int32(0),
        params=variables["params"],
        constants=variables["constants"],
        opt_state=jax.jit(tx.init)(variables["params"]),
        key=jax.random.key_data(key),
    )
