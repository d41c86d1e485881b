"""What is learnt from: a weighted sum of terms, each a pure function to a scalar."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

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


def _spectral(
    distance: Callable[..., Array], *, takes_rate: bool = False, over_batch: bool = False
) -> Callable[..., tuple[Array, Array]]:
    """A distance of spectra, as an entry of `AUDIO`: short audio gets silence behind it."""

    def term(estimate: Array, reference: Array, length: Array, rate: int) -> tuple[Array, Array]:
        (x, ends), (y, _) = (signal.channel_rows(z, length) for z in (estimate, reference))
        missing = max(_FEWEST_SAMPLES - x.shape[1], 0)
        both = (jnp.pad(z, ((0, 0), (0, missing))) for z in (x, y))
        options: dict[str, Any] = {"sample_rate": rate} if takes_rate else {}
        if over_batch:
            options["where"] = ends > 0
        return distance(*both, **options), ends > 0

    return term


def _waveform_l1(
    estimate: Array, reference: Array, length: Array, rate: int
) -> tuple[Array, Array]:
    (x, ends), (y, _) = (signal.channel_rows(z, length) for z in (estimate, reference))
    return signal.waveform_l1(x, y, length=ends), ends > 0


def _si_sdr(estimate: Array, reference: Array, length: Array, rate: int) -> tuple[Array, Array]:
    ratio, counts = signal.channel_si_sdr(estimate, reference, length)
    return -ratio, counts  # the higher the better


# Of estimate and reference, [batch, samples, *channels], the samples of each before its end, and
# the sample rate: a value for each row, which is a channel, or one for all rows that count, which
# is how auraloss and descript-audio-codec define theirs; and the rows that count.
AUDIO: dict[str, Callable[[Array, Array, Array, int], tuple[Array, Array]]] = {
    "waveform_l1": _waveform_l1,
    "si_sdr": _si_sdr,
    "multi_resolution_stft": _spectral(signal.multi_resolution_stft),
    "auraloss_multi_resolution_stft": _spectral(
        signal.auraloss_multi_resolution_stft, over_batch=True
    ),
    "multi_scale_mel": _spectral(signal.multi_scale_mel, takes_rate=True),
    "dac_mel": _spectral(signal.dac_mel, takes_rate=True, over_batch=True),
    "a_weighted": _spectral(signal.a_weighted_spectral_distance, takes_rate=True),
}


def check_rate(names: Iterable[str], sample_rate: int) -> None:
    """Traces losses, so that those that make no sense at this rate are refused early.

    Raises:
      UserError: naming the loss and the rate.
    """
    audio = jax.ShapeDtypeStruct((1, _FEWEST_SAMPLES), jnp.float32)
    length = jax.ShapeDtypeStruct((1,), jnp.int32)
    for name in names:
        if name not in AUDIO:
            continue
        try:
            jax.eval_shape(
                lambda x, y, n, term=AUDIO[name]: term(x, y, n, sample_rate), audio, audio, length
            )
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
        terms = {
            name: FEATURES[name](error, compared.mask) for name in self.weights if name in FEATURES
        }
        counts = dict.fromkeys(terms, compared.mask.sum().astype(jnp.float32))
        if set(self.weights) - set(FEATURES):
            features = compared.output * constants["scale"] + constants["mean"][None, None]
            if compared.heard is None:
                estimate = self.representation.synthesise(features)
            else:
                estimate = self.representation.masked(compared.heard, features)
            estimate = estimate[:, : compared.audio.shape[1]]
            audio = compared.audio[:, : estimate.shape[1]]
            length = jnp.minimum(compared.length, estimate.shape[1])
            for name in self.weights:
                if name in AUDIO:
                    values, used = AUDIO[name](estimate, audio, length, self.sample_rate)
                    counts[name] = used.sum().astype(jnp.float32)
                    terms[name] = values if values.ndim == 0 else _row_mean(values, used)
        return terms, counts


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


def _row_mean(values: Float[Array, " rows"], counted: Bool[Array, " rows"]) -> Float[Array, ""]:
    count = jnp.maximum(counted.sum().astype(values.dtype), 1)
    return jnp.where(counted, values, 0.0).sum() / count
