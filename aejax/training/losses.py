"""What is learnt from: a weighted sum of terms, each a pure function to a scalar."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from ml_collections import ConfigDict

from aejax import signal
from aejax.errors import UserError
from aejax.representation import Representation


def masked_mean(
    values: Float[Array, "batch frames bins"], mask: Bool[Array, "batch frames"]
) -> Float[Array, ""]:
    """Mean over the frames where ``mask`` is true; 0 where none is."""
    weight = mask.astype(values.dtype)[..., None]
    count = weight.sum() * values.shape[-1]
    return (values * weight).sum() / jnp.maximum(count, 1)


FEATURES: dict[str, Callable[[Array, Array], Array]] = {
    "l1": lambda error, mask: masked_mean(jnp.abs(error), mask),
    "l2": lambda error, mask: masked_mean(jnp.square(error), mask),
}

# Samples that reflect at the ends of the longest transform of a loss, which has 2048.
_FEWEST_SAMPLES = 1025


def _spectral(distance: Callable[..., Array], *, takes_rate: bool) -> Callable[..., Array]:
    """A distance of spectra, as an entry of `AUDIO`: short audio gets silence behind it."""

    def term(estimate: Array, reference: Array, rate: int) -> Array:
        missing = max(_FEWEST_SAMPLES - estimate.shape[1], 0)
        both = (jnp.pad(x, ((0, 0), (0, missing))) for x in (estimate, reference))
        return distance(*both, sample_rate=rate) if takes_rate else distance(*both)

    return term


# Of estimate and reference, [rows, samples], at a sample rate: a value for each row; or one for all
# rows, which is how auraloss and descript-audio-codec define theirs.
AUDIO: dict[str, Callable[[Array, Array, int], Array]] = {
    "waveform_l1": lambda x, y, rate: signal.waveform_l1(x, y),
    # The higher the better, so its negative.
    "si_sdr": lambda x, y, rate: -signal.si_sdr(x, y),
    "multi_resolution_stft": _spectral(signal.multi_resolution_stft, takes_rate=False),
    "auraloss_multi_resolution_stft": _spectral(
        signal.auraloss_multi_resolution_stft, takes_rate=False
    ),
    "multi_scale_mel": _spectral(signal.multi_scale_mel, takes_rate=True),
    "dac_mel": _spectral(signal.dac_mel, takes_rate=True),
    "a_weighted": _spectral(signal.a_weighted_spectral_distance, takes_rate=True),
}


def check_rate(names: Iterable[str], sample_rate: int) -> None:
    """Traces losses, so that those that make no sense at this rate are refused early.

    Raises:
      UserError: naming the loss and the rate.
    """
    audio = jax.ShapeDtypeStruct((1, _FEWEST_SAMPLES), jnp.float32)
    for name in names:
        if name not in AUDIO:
            continue
        try:
            jax.eval_shape(lambda x, y, term=AUDIO[name]: term(x, y, sample_rate), audio, audio)
        except ValueError as error:
            raise UserError(
                f"config.loss.{name}.weight does not go with data.sample_rate={sample_rate}: take"
                f" a lower rate or another loss ({error})"
            ) from None


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
      weights: by name, those above 0.
      representation: that makes audio of features, for the terms that need it.
      sample_rate: Hz.
    """

    weights: Mapping[str, float]
    representation: Representation
    sample_rate: int

    def terms(self, compared: Compared, constants: Mapping[str, Array]) -> dict[str, Array]:
        """Each term by name, ``[]``, without its weight; ``constants``: the model's.

        Terms of features are means over frames, those of audio over rows, each of which counts
        alike, but for such as only fill the batch (and, for a ratio, silent ones).
        """
        error = compared.output - compared.features
        terms = {
            name: FEATURES[name](error, compared.mask) for name in self.weights if name in FEATURES
        }
        if set(self.weights) - set(FEATURES):
            features = compared.output * constants["scale"] + constants["mean"][None, None]
            if compared.heard is None:
                estimate = self.representation.synthesise(features)
            else:
                estimate = self.representation.masked(compared.heard, features)
            estimate = estimate[:, : compared.audio.shape[1]]
            estimate, audio = (
                _rows(x, compared.length)
                for x in (estimate, compared.audio[:, : estimate.shape[1]])
            )
            terms |= {
                name: _row_mean(
                    AUDIO[name](estimate, audio, self.sample_rate), _counted(name, compared)
                )
                for name in self.weights
                if name in AUDIO
            }
        return terms

    def counts(self, compared: Compared) -> dict[str, Array]:
        """By name, of how many frames, or rows, each term is a mean."""
        return {
            name: (compared.mask if name in FEATURES else _counted(name, compared))
            .sum()
            .astype(jnp.float32)
            for name in self.weights
        }


def from_config(config: ConfigDict, representation: Representation) -> Objective:
    """What ``config.loss`` of a whole config stands for."""
    weights = {name: terms.weight for name, terms in config.loss.items() if terms.weight}
    return Objective(weights, representation, config.data.sample_rate)


def weighted(
    terms: Mapping[str, Float[Array, ""]], weights: Mapping[str, Float[Array, ""] | float]
) -> Float[Array, ""]:
    """The sum of terms, each times its weight."""
    found = [jnp.float32(weights[name]) * value for name, value in terms.items()]
    return sum(found, jnp.float32(0))


def _row_mean(values: Float[Array, "*rows"], counted: Bool[Array, " rows"]) -> Float[Array, ""]:
    count = jnp.maximum(counted.sum().astype(values.dtype), 1)
    if values.ndim == 0:
        # A mean over all rows, where those that only fill the batch gave 0. Of auraloss this is
        # true of the logarithms alone: its other half, a ratio over all rows, comes out too large
        # in a validation batch that is not full. In training all rows are there.
        return values * (counted.size / count)
    return jnp.where(counted, values, 0.0).sum() / count


def _counted(name: str, compared: Compared) -> Bool[Array, " rows"]:
    """The rows of audio that a term is a mean of."""
    rows = _rows(compared.audio, compared.length)
    there = jnp.repeat(compared.length > 0, rows.shape[0] // compared.length.shape[0])
    return there & jnp.any(rows != 0, axis=1) if name == "si_sdr" else there


def _rows(
    audio: Float[Array, "batch samples *channels"], length: Int[Array, " batch"]
) -> Float[Array, "rows samples"]:
    """Each channel a row, silent behind the end of its clip."""
    there = jnp.arange(audio.shape[1])[None] < length[:, None]
    audio = jnp.where(there.reshape(*there.shape, *[1] * (audio.ndim - 2)), audio, 0.0)
    return audio if audio.ndim == 2 else jnp.moveaxis(audio, 2, 1).reshape(-1, audio.shape[1])
