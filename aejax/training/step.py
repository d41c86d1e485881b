"""The one compiled step: waveform batch and state in, new state and metrics out."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from aejax.models import autoencoder
from aejax.representation import Representation, valid_frames
from aejax.training.augmentation import Augmentation, augment, random_masks
from aejax.training.losses import masked_mean_square
from aejax.training.state import TrainState

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, Metrics]]


def make_train_step(
    representation: Representation,
    model: autoencoder.Autoencoder,
    tx: optax.GradientTransformation,
    *,
    samples: int,
    downsampling: int,
    augmentation: Augmentation,
) -> TrainStep:
    """The step as a pure function, to be compiled once.

    Args:
      representation: of the audio.
      model: trained on its features.
      tx: the optimiser.
      samples: of an excerpt; the batch has ``augmentation.span(samples)``.
      downsampling: frames in a block.
      augmentation: of the audio, and of what the model sees of the features.
    """

    def train_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        augment_key, mask_key, dropout_key = jax.random.split(key, 3)
        audio, length = augment(
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
        seen = features
        if augmentation.time_masks or augmentation.frequency_masks:
            seen = random_masks(
                mask_key,
                features,
                state.constants["mean"],
                augmentation,
                channels=audio.shape[2] if audio.ndim == 3 else 1,
            )

        def loss(params: dict) -> tuple[jax.Array, Metrics]:
            variables = {"params": params, "constants": state.constants}
            reconstruction = autoencoder.reconstruct(
                model, variables, seen, dropout_key=dropout_key
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
