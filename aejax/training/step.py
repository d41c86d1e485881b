"""The one compiled step: waveform batch and state in, new state and metrics out."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aejax.models import autoencoder
from aejax.representation import Representation, valid_frames
from aejax.training.augmentation import Augmentation, augment, seen
from aejax.training.losses import Objective, compare, weighted
from aejax.training.state import TrainState

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, Metrics]]


def make_train_step(
    representation: Representation,
    model: autoencoder.Autoencoder,
    tx: optax.GradientTransformation,
    objective: Objective,
    *,
    samples: int,
    downsampling: int,
    augmentation: Augmentation,
    ema_decay: float = 0.0,
) -> TrainStep:
    """The step as a pure function, to be compiled once.

    Args:
      representation: of the audio.
      model: trained on its features.
      tx: the optimiser.
      objective: what is learnt from.
      samples: of an excerpt; the batch has ``augmentation.span(samples)``.
      downsampling: frames in a block.
      augmentation: of the audio, and of what the model sees of the features.
      ema_decay: of the moving average of the parameters, by update, if the state has one.
    """

    def train_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        augment_key, input_key, model_key, speaker_key = jax.random.split(key, 4)
        heard, audio, length = augment(
            augment_key,
            batch["audio"],
            batch["length"],
            batch["place"],
            augmentation,
            samples=samples,
            noise=batch.get("noise"),
        )
        features = representation.analyse(audio)
        mask = valid_frames(representation, length, features.shape[1], downsampling)
        constants = state.collections["constants"]
        given = seen(
            input_key,
            representation.analyse(heard) if augmentation.apart else features,
            constants["mean"],
            augmentation,
            channels=audio.shape[2] if audio.ndim == 3 else 1,
        )
        speaker = batch.get("speaker")
        if speaker is not None:
            speaker = sometimes_nobody(speaker_key, speaker)

        def loss(params: dict) -> tuple[jax.Array, tuple[Metrics, dict]]:
            variables = {**state.variables, "params": params}
            output = autoencoder.forward(
                model,
                variables,
                given,
                mask[:, ::downsampling],
                train=True,
                key=model_key,
                speaker=speaker,
            )
            compared = compare(
                output.features,
                features,
                mask,
                audio,
                length,
                constants,
                heard if augmentation.target == "clean" else None,
            )
            terms = objective.terms(compared, constants) | output.losses
            weights = {**state.weights, **model.bottleneck.weights(state.step), "adversary": 1.0}
            total = weighted(terms, weights)
            return total, (terms, output.codebooks)

        (total, (terms, codebooks)), gradients = jax.value_and_grad(loss, has_aux=True)(
            state.params
        )
        # optax mixes its integer step count with floats; all else here holds under "strict".
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {
            "loss/total": total,
            **{f"loss/{name}": value for name, value in terms.items()},
            "gradient_norm": optax.tree.norm(gradients),
            "parameter_norm": optax.tree.norm(params),
        }
        new_state = dataclasses.replace(
            state,
            step=state.step + 1,
            params=params,
            collections=state.collections | ({"codebooks": codebooks} if codebooks else {}),
            opt_state=opt_state,
            ema=_average(state, params, opt_state, ema_decay),
        )
        return new_state, metrics

    return train_step


# How often a decoder is not told who speaks, so that it can do without.
_UNTOLD = 0.1


def sometimes_nobody(key: jax.Array, speaker: jax.Array) -> jax.Array:
    """Numbers of speakers ``[batch]``, now and then 0 instead."""
    return jnp.where(jax.random.bernoulli(key, _UNTOLD, speaker.shape), 0, speaker)


def _average(state: TrainState, params: dict, opt_state: Any, decay: float) -> dict | None:
    """The moving average after an update; over few updates at first, over more later. A batch
    whose gradient only accumulates leaves it as it is."""
    if state.ema is None:
        return None
    update, moves = state.step, jnp.asarray(True)
    if isinstance(opt_state, optax.MultiStepsState):
        update, moves = opt_state.gradient_step - 1, opt_state.mini_step == 0
    before = update.astype(jnp.float32)
    retained = jnp.where(moves, jnp.minimum(decay, (1 + before) / (10 + before)), 1.0)
    return jax.tree.map(lambda mean, new: retained * mean + (1 - retained) * new, state.ema, params)
