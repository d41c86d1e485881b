"""Losses of features and of audio; a ``weight`` above 0 switches one on."""

from ml_collections import ConfigDict

from aejax import parts
from aejax.losses.audio import AudioLoss, check_rate
from aejax.losses.features import FeatureLoss, masked_mean
from aejax.runtime.errors import UserError

__all__ = ["AudioLoss", "FeatureLoss", "check", "check_rate", "masked_mean", "used"]

register = parts.losses.register


def used(config: ConfigDict) -> list[str]:
    """Names of the losses with a weight in a whole config: of features, then of audio."""
    names = [name for name in parts.losses if config.loss[name].weight]
    return sorted(names, key=lambda name: issubclass(parts.losses[name], AudioLoss))


def check(config: ConfigDict) -> None:
    """Checks that a loss has a weight, and that losses of audio have an exactly invertible
    representation (or, in denoising, a mask of the noisy input).

    Raises:
      UserError: there is no loss, or the representation is not exactly invertible.
    """
    names = used(config)
    if not names:
        weights = ".weight, loss.".join(parts.losses)
        raise UserError(f"config.loss has no weight above 0; set one of loss.{weights}.weight")
    representation = parts.representations[config.representation.name]
    # Denoising keeps the phase of the noisy input.
    if representation.exact or config.task == "denoise":
        return
    for name in names:
        if issubclass(parts.losses[name], AudioLoss):
            exact = [other for other, part in parts.representations.items() if part.exact]
            raise UserError(
                f"config.loss.{name}.weight={config.loss[name].weight} is a loss of audio, and"
                f" representation.name={config.representation.name!r} is not exactly invertible;"
                f" {', '.join(exact)} are"
            )
