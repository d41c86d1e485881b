"""The one compiled step: waveform batch and state in, new state and metrics out."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from aejax.models import autoencoder
from aejax.representation import Representation, valid_frames
from aejax.training.augmentation import Augmentation, augment
from aejax.training.losses import masked_mean_square
from aejax.training.state import TrainState

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, Metrics]]


def make_train_step(
    representation: Representation,
    model: autoencoder.Autoencoder,
    tx: optax.GradientTransformation,
    *,
    downsampling: int,
    augmentation: Augmentation,
) -> TrainStep:
    """The step as a pure function, to be compiled once."""

    def train_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        augment_key, dropout_key = jax.random.split(key)
        features = representation.analyse(augment(augment_key, batch["audio"], augmentation))
        mask = valid_frames(representation, batch["length"], features.shape[1], downsampling)

        def loss(params: dict) -> tuple[jax.Array, Metrics]:
            variables = {"params": params, "constants": state.constants}
            reconstruction = autoencoder.reconstruct(
                model, variables, features, dropout_key=dropout_key
            )
            error = (reconstruction - features) / state.constants["scale"]
            terms = {"loss/features": masked_mean_square(error, mask)}
            return sum(terms.values(), jnp.float32(0)), terms

        (total, terms), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        # optax mixes its integer step count with floats; all else here holds under "strict".
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {
            "loss/total": total,
            **terms,
            "gradient_norm": optax.tree.norm(gradients),
            "parameter_norm": optax.tree.norm(params),
        }
        new_state = dataclasses.replace(
            state, step=state.step + 1, params=params, opt_state=opt_state
        )
        return new_state, metrics

    return train_step
