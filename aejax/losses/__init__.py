"""Losses: of features, and of audio; each a class whose ``weight`` switches it on."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from aejax import parts
from aejax.losses.audio import AudioLoss, check_rate
from aejax.losses.features import FeatureLoss, masked_mean
from aejax.runtime.errors import UserError

__all__ = ["AudioLoss", "FeatureLoss", "check", "check_rate", "masked_mean", "used"]

register = parts.losses.register


def used(config: ConfigDict) -> Iterable[str]:
    """Names of the losses that have a weight in a whole config: of features, then of audio."""
    names = [name for name in parts.losses if config.loss[name].weight]
    return sorted(names, key=lambda name: issubclass(parts.losses[name], AudioLoss))


def check(config: ConfigDict) -> None:
    """Refuses a config without a loss, or with a loss of audio if the representation is not exactly
    invertible.

    Raises:
      UserError: naming the loss.
    """
    names = used(config)
    if not names:
        weights = ".weight, loss.".join(parts.losses)
        raise UserError(f"config.loss has no weight above 0; give one to loss.{weights}.weight")
    representation = parts.representations[config.representation.name]
    # Denoising keeps the phase of the noisy input.
    if representation.exact or config.task == "denoise":
        return
    for name in names:
        if issubclass(parts.losses[name], AudioLoss):
            exact = [other for other, part in parts.representations.items() if part.exact]
            raise UserError(
                f"config.loss.{name}.weight={config.loss[name].weight} is of audio, and"
                f" representation.name={config.representation.name!r} has no exact way back to it;"
                f" {', '.join(exact)} have"
            )
