"""Losses of audio, for exactly invertible representations."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from aejax import parts, signal
from aejax.parts import at_least, key, losses
from aejax.runtime.errors import UserError

Audio = Float[Array, "batch samples *channels"]
# One value for each row (a channel of a clip) or for all valid rows; and the mask of valid rows.
Values = tuple[Float[Array, "*rows"], Bool[Array, " channel_rows"]]

# Reflection padding for the longest transform, 2048, needs this many samples.
_FEWEST_SAMPLES = 1025


@dataclasses.dataclass(frozen=True)
class AudioLoss:
    """A loss of audio: a mean over the valid channels of all clips."""

    weight: float = key(0.0, at_least(0), "in the sum that is minimised; 0 is off", per_member=True)

    def __call__(
        self, estimate: Audio, reference: Audio, length: Int[Array, " batch"], sample_rate: int
    ) -> Values:
        """The loss of each channel, or one value for all; and a mask of valid channels.

        Args:
          estimate: output audio.
          reference: target audio.
          length: samples of each row before its clip ends.
          sample_rate: Hz.
        """
        raise NotImplementedError


class SpectralLoss(AudioLoss):
    """A spectral distance; short audio is padded with silence.

    Attributes:
      distance: function of two arrays ``[rows, samples]``.
      takes_rate: whether it takes ``sample_rate``.
      over_batch: one value for all rows, as in auraloss and descript-audio-codec.
    """

    distance: ClassVar[Callable[..., Array]]
    takes_rate: ClassVar[bool] = False
    over_batch: ClassVar[bool] = False

    def __call__(
        self, estimate: Audio, reference: Audio, length: Int[Array, " batch"], sample_rate: int
    ) -> Values:
        (x, ends), (y, _) = (signal.channel_rows(z, length) for z in (estimate, reference))
        missing = max(_FEWEST_SAMPLES - x.shape[1], 0)
        both = (jnp.pad(z, ((0, 0), (0, missing))) for z in (x, y))
        options: dict[str, Any] = {"sample_rate": sample_rate} if self.takes_rate else {}
        if self.over_batch:
            options["where"] = ends > 0
        return type(self).distance(*both, **options), ends > 0


@losses.register("waveform_l1")
class WaveformL1(AudioLoss):
    """Mean absolute difference of samples."""

    def __call__(
        self, estimate: Audio, reference: Audio, length: Int[Array, " batch"], sample_rate: int
    ) -> Values:
        (x, ends), (y, _) = (signal.channel_rows(z, length) for z in (estimate, reference))
        return signal.waveform_l1(x, y, length=ends), ends > 0


@losses.register("si_sdr")
class SISDR(AudioLoss):
    """Negative scale-invariant signal-to-distortion ratio, dB."""

    def __call__(
        self, estimate: Audio, reference: Audio, length: Int[Array, " batch"], sample_rate: int
    ) -> Values:
        ratio, counts = signal.channel_si_sdr(estimate, reference, length)
        return -ratio, counts


@losses.register("multi_resolution_stft")
class MultiResolutionSTFT(SpectralLoss):
    """`aejax.signal.multi_resolution_stft`, of each channel separately."""

    distance = staticmethod(signal.multi_resolution_stft)


@losses.register("auraloss_multi_resolution_stft")
class AuralossMultiResolutionSTFT(SpectralLoss):
    """`aejax.signal.auraloss_multi_resolution_stft`, of a batch as auraloss defines it."""

    distance = staticmethod(signal.auraloss_multi_resolution_stft)
    over_batch = True


@losses.register("multi_scale_mel")
class MultiScaleMel(SpectralLoss):
    """`aejax.signal.multi_scale_mel`, of each channel separately."""

    distance = staticmethod(signal.multi_scale_mel)
    takes_rate = True


@losses.register("dac_mel")
class DACMel(SpectralLoss):
    """`aejax.signal.dac_mel`, of a batch as descript-audio-codec defines it."""

    distance = staticmethod(signal.dac_mel)
    takes_rate = over_batch = True


@losses.register("a_weighted")
class AWeighted(SpectralLoss):
    """`aejax.signal.a_weighted_spectral_distance`, of each channel separately."""

    distance = staticmethod(signal.a_weighted_spectral_distance)
    takes_rate = True


def check_rate(names: Iterable[str], sample_rate: int) -> None:
    """Checks by tracing that losses of audio work at this sample rate.

    Raises:
      UserError: one does not.
    """
    audio = jax.ShapeDtypeStruct((1, _FEWEST_SAMPLES), jnp.float32)
    length = jax.ShapeDtypeStruct((1,), jnp.int32)
    for name in names:
        if not issubclass(parts.losses[name], AudioLoss):
            continue
        loss = parts.losses[name]()
        try:
            jax.eval_shape(
                lambda x, y, n, loss=loss: loss(x, y, n, sample_rate), audio, audio, length
            )
        except ValueError as error:
            raise UserError(
                f"config.loss.{name}.weight does not work at data.sample_rate={sample_rate}: use a"
                f" lower rate or another loss ({error})"
            ) from None
