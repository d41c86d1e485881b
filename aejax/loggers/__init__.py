"""Loggers: where the scalars, sounds and pictures of a run are shown; one file each."""

from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from aejax import parts
from aejax.loggers.base import Logger
from aejax.loggers.tensorboard import TensorBoard
from aejax.loggers.wandb import WandB

__all__ = ["Logger", "TensorBoard", "WandB", "from_config", "require"]

register = parts.loggers.register

DEFAULT = ("tensorboard",)


def from_config(config: ConfigDict, path: Path, after: int) -> Iterator[Logger]:
    """Opens the loggers of a whole config one by one; see `Logger` for the arguments."""
    for name in config.log.loggers:
        yield parts.loggers.build(name, config.log, path=path, config=config, after=after)


def require(config: ConfigDict) -> None:
    """Checks that the loggers of a whole config can be used.

    Raises:
      UserError: a library is missing.
    """
    for name in config.log.loggers:
        parts.loggers[name].require()
