"""Weights & Biases."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np

from aejax.loggers.base import Logger
from aejax.parts import key, loggers, rule
from aejax.runtime.errors import UserError, one_line


@loggers.register("wandb")
@dataclasses.dataclass
class WandB(Logger):
    """Weights & Biases; with ``WANDB_MODE=offline``, files in ``RUN/wandb`` for ``wandb sync``."""

    project: str = key("aejax", rule(bool, "a name"), "project of the run")

    @classmethod
    def require(cls) -> None:
        """Checks that wandb is installed.

        Raises:
          UserError: it is not.
        """
        if importlib.util.find_spec("wandb") is None:
            raise UserError(
                "config.log.loggers has 'wandb', which is not installed: pip install 'aejax[wandb]'"
            )

    def __post_init__(self) -> None:
        import wandb

        try:
            self._run: Any = wandb.init(
                project=self.project,
                name=self.path.name,
                dir=self.path,
                config=self.config.to_dict(),
                id=self._earlier_id(),
                resume="allow",
                reinit="create_new",  # members of a population log side by side
                settings=wandb.Settings(console="off"),  # it would break progress bars
            )
        except wandb.Error as error:
            raise UserError(
                f"wandb: {one_line(error)}; wandb login, or WANDB_MODE=offline to log to files"
            ) from None
        self._run.define_metric("*", step_metric="step")

    def _earlier_id(self) -> str | None:
        """The id of a resumed run; None for a new one."""
        earlier = sorted(self.path.glob("wandb/*run-*/run-*.wandb")) if self.after >= 0 else []
        return earlier[-1].stem.removeprefix("run-") if earlier else None

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Logs them; the axis is "step", as wandb's own steps could not be repeated by a resumed
        run."""
        self._run.log({"step": step, **scalars})

    def sound(self, name: str, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """Logs audio."""
        import wandb

        self._run.log({"step": step, name: wandb.Audio(audio, sample_rate)})

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """Logs an image."""
        import wandb

        self._run.log({"step": step, name: wandb.Image(picture, mode="L")})

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()
