"""Augmentations: random changes of training excerpts, in the compiled step; one file each."""

from ml_collections import ConfigDict

from aejax import parts
from aejax.augmentations.base import Augmentation, Chain, Example
from aejax.augmentations.cut import Cut
from aejax.augmentations.eq import EQ, InputEQ
from aejax.augmentations.gain import Gain
from aejax.augmentations.masks import FrequencyMasks, TimeMasks
from aejax.augmentations.mix import Mix
from aejax.augmentations.noise import Noise
from aejax.augmentations.polarity import Polarity
from aejax.augmentations.speed import Speed
from aejax.augmentations.vtlp import VTLP
from aejax.runtime.errors import UserError

__all__ = [
    "EQ",
    "VTLP",
    "Augmentation",
    "Chain",
    "Cut",
    "Example",
    "FrequencyMasks",
    "Gain",
    "InputEQ",
    "Mix",
    "Noise",
    "Polarity",
    "Speed",
    "TimeMasks",
    "check",
    "from_config",
]

register = parts.augmentations.register

# Noise is added to the changed sound, then gain is applied to both.
DEFAULT_CHAIN = (
    "speed",
    "mix",
    "eq",
    "polarity",
    "cut",
    "noise",
    "input_eq",
    "gain",
    "vtlp",
    "time_masks",
    "frequency_masks",
)


def default_chain() -> tuple[str, ...]:
    """Names of aejax's augmentations, then of a user's own."""
    return (*DEFAULT_CHAIN, *(name for name in parts.augmentations if name not in DEFAULT_CHAIN))


def from_config(config: ConfigDict, samples: int) -> Chain:
    """The augmentations of a whole config, for excerpts of ``samples``."""
    chain: list[tuple[str, Augmentation]] = []
    for name in config.augment.chain:
        part = parts.augmentations.build(
            name,
            config.augment,
            samples=samples,
            task=config.task,
            changes=tuple(earlier for _, earlier in chain if earlier.also_noise),
        )
        if part.is_on:
            chain.append((name, part))
    return Chain(tuple(chain), config.task)


def noise_of(config: ConfigDict) -> Noise | None:
    """The part of the chain that adds noise, if any."""
    parts_on = (part for _, part in from_config(config, 1).parts)
    return next((part for part in parts_on if isinstance(part, Noise)), None)


def check(config: ConfigDict) -> None:
    """Checks the order of the chain, and that denoising has noise.

    Raises:
      UserError: an augmentation after the first shortens excerpts, or denoising has no noise.
    """
    for name, part in from_config(config, 1000).parts[1:]:
        if part.span(1000) != 1000:
            raise UserError(
                f"config.augment.chain={tuple(config.augment.chain)}: {name} shortens excerpts, so"
                " it must be first"
            )
    if config.task == "denoise" and noise_of(config) is None:
        kind = config.augment.noise.kind
        raise UserError(f"config.task='denoise' needs noise, and augment.noise.kind={kind}")
