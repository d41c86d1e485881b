"""Base class of loggers."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict


@dataclasses.dataclass
class Logger:
    """Shows the log of a run somewhere, beside the ``metrics.jsonl`` that every run has.

    Subclasses override the methods for what they can show; by default, a method does nothing. What
    is to be opened is opened in ``__post_init__``.

    Attributes:
      path: the run's directory.
      config: the whole config of the run.
      after: step that the run resumes from, -1 for a new run; what was logged later is invalid.
    """

    path: Path
    config: ConfigDict
    after: int

    @classmethod
    def require(cls) -> None:
        """Checks that it can be used, before anything is computed.

        Raises:
          UserError: a library is missing.
        """

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Shows scalars by name; there may be several calls for one step."""

    def sound(self, name: str, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """Shows audio ``[samples, channels]``, from -1 to 1."""

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """Shows a grey-scale image, uint8 ``[height, width]``."""

    def close(self) -> None:
        """Ends the log; called once, also after an error."""
