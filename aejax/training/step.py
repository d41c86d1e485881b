"""The training step: a pure function of state and batch to new state and metrics."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from aejax.augmentations import Chain, Example
from aejax.models import autoencoder
from aejax.models.autoencoder import standardise
from aejax.objective import Comparison, Objective, weighted_sum
from aejax.representations import Representation, analyse_blocks
from aejax.training.state import TrainState

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, Metrics]]


class Setup(NamedTuple):
    """The constants of a step.

    Attributes:
      representation: of the audio.
      model: the autoencoder.
      tx: the optimizer.
      objective: the sum of losses to minimise.
      samples: samples of an excerpt; a batch's audio has ``augmentation.span(samples)``.
      downsampling: frames in a block.
      augmentation: of the audio, and of the encoder's input.
      ema_decay: decay per update of the moving average of parameters, if the state has one.
    """

    representation: Representation
    model: autoencoder.Autoencoder
    tx: optax.GradientTransformation
    objective: Objective
    samples: int
    downsampling: int
    augmentation: Chain
    ema_decay: float = 0.0


def train_step(
    setup: Setup, state: TrainState, batch: dict[str, jax.Array]
) -> tuple[TrainState, Metrics]:
    """The state after one training step, and its metrics."""
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    augment_key, input_key, model_key, speaker_key = jax.random.split(key, 4)
    audio, length, position = batch["audio"], batch["length"], batch["position"]
    example = Example(audio, audio, length, position, batch.get("noise"))
    input_audio, audio, length, *_ = setup.augmentation(augment_key, example, setup.samples)
    analyse = functools.partial(
        analyse_blocks, setup.representation, length=length, downsampling=setup.downsampling
    )
    features, frame_mask, block_mask = analyse(audio)
    constants = state.collections["constants"]
    encoder_input = setup.augmentation.change_features(
        input_key,
        analyse(input_audio)[0] if setup.augmentation.separates else features,
        constants["mean"],
        audio.shape[2] if audio.ndim == 3 else 1,
    )
    x, target = (standardise(y, constants) for y in (encoder_input, features))
    speaker = speaker_dropout(speaker_key, batch.get("speaker"))
    noisy_audio = input_audio if setup.augmentation.task == "denoise" else None

    def loss(params: dict) -> tuple[jax.Array, tuple[Metrics, dict]]:
        variables = {**state.variables, "params": params}
        output = autoencoder.forward(
            setup.model,
            variables,
            x,
            block_mask,
            train=True,
            key=model_key,
            speaker=speaker,
        )
        compared = Comparison(output.features, target, frame_mask, audio, length, noisy_audio)
        terms = setup.objective.terms(compared, constants) | output.losses
        bottleneck = setup.model.bottleneck.weights(state.step)
        total = weighted_sum(terms, {**state.weights, **bottleneck, "adversary": 1.0})
        return total, (terms, output.codebooks)

    (total, (terms, codebooks)), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
    state = _updated(setup, state, gradients, codebooks)
    metrics = {"loss/total": total, **{f"loss/{name}": value for name, value in terms.items()}}
    metrics["gradient_norm"] = optax.tree.norm(gradients)
    return state, metrics | {"parameter_norm": optax.tree.norm(state.params)}


def make_train_step(*arguments: Any, **options: Any) -> TrainStep:
    """`train_step` with a `Setup` of these fields."""
    return functools.partial(train_step, Setup(*arguments, **options))


# Probability of an unknown speaker in training, so that the decoder also works without one.
_SPEAKER_DROPOUT = 0.1


def speaker_dropout(key: jax.Array, speaker: jax.Array | None) -> jax.Array | None:
    """Speakers ``[batch]`` with random ones set to 0, "unknown"; None without speakers."""
    if speaker is None:
        return None
    return jnp.where(jax.random.bernoulli(key, _SPEAKER_DROPOUT, speaker.shape), 0, speaker)


def _updated(setup: Setup, state: TrainState, gradients: dict, codebooks: dict) -> TrainState:
    """The state after an update with these gradients."""
    # optax mixes its integer step count with floats, which "strict" promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = setup.tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return dataclasses.replace(
        state,
        step=state.step + 1,
        params=params,
        collections=state.collections | ({"codebooks": codebooks} if codebooks else {}),
        opt_state=opt_state,
        ema=_average(state, params, opt_state, setup.ema_decay),
    )


def _average(state: TrainState, params: dict, opt_state: Any, decay: float) -> dict | None:
    """The moving average after an update, with a smaller decay at first. Accumulated
    batches before an update do not change it."""
    if state.ema is None:
        return None
    update, is_update = state.step, jnp.asarray(True)
    if isinstance(opt_state, optax.MultiStepsState):
        update, is_update = opt_state.gradient_step - 1, opt_state.mini_step == 0
    before = update.astype(jnp.float32)
    retained = jnp.where(is_update, jnp.minimum(decay, (1 + before) / (10 + before)), 1.0)
    return jax.tree.map(lambda mean, new: retained * mean + (1 - retained) * new, state.ema, params)
