"""What is learnt from: a weighted sum of terms, each a pure function to a scalar."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from aejax import losses, parts
from aejax.losses import AudioLoss, FeatureLoss
from aejax.representations import Representation


class Compared(NamedTuple):
    """What terms compare.

    Attributes:
      output, features: standardised, as they come back and as they were.
      mask: frames that count.
      audio: that the features are of.
      length: samples of each row before its clip ends.
      heard: what the model heard, where that is another audio.
    """

    output: Float[Array, "batch frames bins"]
    features: Float[Array, "batch frames bins"]
    mask: Bool[Array, "batch frames"]
    audio: Float[Array, "batch samples *channels"]
    length: Int[Array, " batch"]
    heard: Float[Array, "batch samples *channels"] | None


def compare(
    output: Float[Array, "batch frames bins"],
    features: Float[Array, "batch frames bins"],
    mask: Bool[Array, "batch frames"],
    audio: Float[Array, "batch samples *channels"],
    length: Int[Array, " batch"],
    constants: Mapping[str, Array],
    heard: Float[Array, "batch samples *channels"] | None = None,
) -> Compared:
    """Standardises both sides by the model's constants."""
    mean, scale = constants["mean"][None, None], constants["scale"]
    return Compared((output - mean) / scale, (features - mean) / scale, mask, audio, length, heard)


class Objective(NamedTuple):
    """The sum that is learnt from: see ``config.loss``.

    Attributes:
      losses: by name, those with a weight.
      representation: that makes audio of features, for the terms that need it.
      sample_rate: Hz.
    """

    losses: Mapping[str, FeatureLoss | AudioLoss]
    representation: Representation
    sample_rate: int

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms, by name."""
        return {name: loss.weight for name, loss in self.losses.items()}

    def terms(self, compared: Compared, constants: Mapping[str, Array]) -> dict[str, Array]:
        """Each term by name, ``[]``, without its weight; see `terms_and_counts`."""
        return self.terms_and_counts(compared, constants)[0]

    def terms_and_counts(
        self, compared: Compared, constants: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Each term by name, ``[]``, without its weight, and of how many frames or rows it is a
        mean; ``constants``: the model's.

        Terms of features are means over frames, those of audio over channels of clips, each of
        which counts alike, but for such as only fill the batch (and, for a ratio, silent ones).
        """
        error = compared.output - compared.features
        audio_losses = {name: x for name, x in self.losses.items() if isinstance(x, AudioLoss)}
        terms = {
            name: loss(error, compared.mask)
            for name, loss in self.losses.items()
            if isinstance(loss, FeatureLoss)
        }
        counts = dict.fromkeys(terms, compared.mask.sum().astype(jnp.float32))
        if audio_losses:
            features = compared.output * constants["scale"] + constants["mean"][None, None]
            if compared.heard is None:
                estimate = self.representation.synthesise(features)
            else:
                estimate = self.representation.masked(compared.heard, features)
            estimate = estimate[:, : compared.audio.shape[1]]
            audio = compared.audio[:, : estimate.shape[1]]
            length = jnp.minimum(compared.length, estimate.shape[1])
            for name, loss in audio_losses.items():
                values, used = loss(estimate, audio, length, self.sample_rate)
                counts[name] = used.sum().astype(jnp.float32)
                terms[name] = values if values.ndim == 0 else _row_mean(values, used)
        return terms, counts


def from_config(config: ConfigDict, representation: Representation) -> Objective:
    """What ``config.loss`` of a whole config stands for."""
    used = {name: parts.losses.build(name, config.loss) for name in losses.used(config)}
    return Objective(used, representation, config.data.sample_rate)


def weighted(
    terms: Mapping[str, Float[Array, ""]], weights: Mapping[str, Float[Array, ""] | float]
) -> Float[Array, ""]:
    """The sum of terms, each times its weight."""
    found = [jnp.float32(weights[name]) * value for name, value in terms.items()]
    return sum(found, jnp.float32(0))


def _row_mean(values: Float[Array, " rows"], counted: Bool[Array, " rows"]) -> Float[Array, ""]:
    count = jnp.maximum(counted.sum().astype(values.dtype), 1)
    return jnp.where(counted, values, 0.0).sum() / count
