"""The one compiled step: waveform batch and state in, new state and metrics out."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from aejax import signal
from aejax.models import autoencoder
from aejax.representation import Representation, valid_frames
from aejax.training.losses import masked_mean_square
from aejax.training.state import TrainState

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, Metrics]]


def random_gain(
    key: jax.Array, audio: Float[Array, "batch samples"], gain_db: float
) -> Float[Array, "batch samples"]:
    """Each row louder or softer by up to ``gain_db``, uniform in dB."""
    gain = jax.random.uniform(key, (audio.shape[0], 1), minval=-gain_db, maxval=gain_db)
    return audio * signal.db_to_amplitude(gain)


def make_train_step(
    representation: Representation,
    model: autoencoder.Autoencoder,
    tx: optax.GradientTransformation,
    *,
    downsampling: int,
    gain_db: float,
) -> TrainStep:
    """The step as a pure function, to be compiled once."""

    def train_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        gain_key, dropout_key = jax.random.split(key)
        features = representation.analyse(random_gain(gain_key, batch["audio"], gain_db))
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
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        metrics = {
            "loss/total": total,
            **terms,
            "gradient_norm": optax.global_norm(gradients),
        }
        new_state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
        )
        return new_state, metrics

    return train_step
