"""The objective: losses, their weights, and their weighted sum."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from aejax import losses, parts
from aejax.losses import AudioLoss, FeatureLoss
from aejax.models.autoencoder import Constants, unstandardise
from aejax.representations import Representation


class Comparison(NamedTuple):
    """Output and target of the model, as the losses take them.

    Attributes:
      output, target: standardised features.
      mask: valid frames.
      audio: target audio.
      length: samples of each row before its clip ends.
      noisy_audio: for denoising, the audio that the output masks.
    """

    output: Float[Array, "batch frames bins"]
    target: Float[Array, "batch frames bins"]
    mask: Bool[Array, "batch frames"]
    audio: Float[Array, "batch samples *channels"]
    length: Int[Array, " batch"]
    noisy_audio: Float[Array, "batch samples *channels"] | None = None


class Objective(NamedTuple):
    """The losses that training minimises the `weighted_sum` of: see ``config.loss``.

    Attributes:
      losses: by name; only those with a weight.
      representation: makes audio of features for losses of audio.
      sample_rate: Hz.
    """

    losses: Mapping[str, FeatureLoss | AudioLoss]
    representation: Representation
    sample_rate: int

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each loss, by name."""
        return {name: loss.weight for name, loss in self.losses.items()}

    def terms(self, compared: Comparison, constants: Constants) -> dict[str, Array]:
        """The unweighted losses by name, ``[]`` each; see `terms_and_counts`."""
        return self.terms_and_counts(compared, constants)[0]

    def terms_and_counts(
        self, compared: Comparison, constants: Constants
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """The unweighted losses by name, ``[]`` each; and the number of frames or rows averaged.

        Losses of features are means over valid frames. Losses of audio are means over channels of
        clips, without padding rows (and, for a ratio, without silent channels).

        Args:
          compared: the output and its target.
          constants: mean and scale of features, from the model's variables.
        """
        error = compared.output - compared.target
        audio_losses = {name: x for name, x in self.losses.items() if isinstance(x, AudioLoss)}
        terms = {
            name: loss(error, compared.mask)
            for name, loss in self.losses.items()
            if isinstance(loss, FeatureLoss)
        }
        counts = dict.fromkeys(terms, compared.mask.sum().astype(jnp.float32))
        if audio_losses:
            features = unstandardise(compared.output, constants)
            if compared.noisy_audio is None:
                estimate = self.representation.synthesise(features)
            else:
                estimate = self.representation.masked(compared.noisy_audio, features)
            estimate = estimate[:, : compared.audio.shape[1]]
            audio = compared.audio[:, : estimate.shape[1]]
            length = jnp.minimum(compared.length, estimate.shape[1])
            for name, loss in audio_losses.items():
                values, used = loss(estimate, audio, length, self.sample_rate)
                counts[name] = used.sum().astype(jnp.float32)
                terms[name] = values if values.ndim == 0 else _row_mean(values, used)
        return terms, counts


def from_config(config: ConfigDict, representation: Representation) -> Objective:
    """The objective of ``config.loss``; ``config`` is a whole config."""
    used = {name: parts.losses.build(name, config.loss) for name in losses.used(config)}
    return Objective(used, representation, config.data.sample_rate)


def weighted_sum(
    terms: Mapping[str, Float[Array, ""]], weights: Mapping[str, Float[Array, ""] | float]
) -> Float[Array, ""]:
    """The sum of losses, each times its weight."""
    products = [jnp.float32(weights[name]) * value for name, value in terms.items()]
    return sum(products, jnp.float32(0))


def _row_mean(values: Float[Array, " rows"], counted: Bool[Array, " rows"]) -> Float[Array, ""]:
    count = jnp.maximum(counted.sum().astype(values.dtype), 1)
    return jnp.where(counted, values, 0.0).sum() / count
