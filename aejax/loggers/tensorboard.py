"""TensorBoard."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from aejax.loggers.base import Logger
from aejax.parts import loggers
from aejax.runtime import files


@loggers.register("tensorboard")
@dataclasses.dataclass
class TensorBoard(Logger):
    """Files for TensorBoard in the run's directory: ``tensorboard --logdir=RUN``."""

    def __post_init__(self) -> None:
        from tensorboardX import SummaryWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        begin = SessionLog(status=SessionLog.START)  # TensorBoard then drops later steps
        with files.explain_full_disk(self.path):
            self._writer: Any = SummaryWriter(str(self.path))
            events = self._writer.file_writer.event_writer
            # Write in this thread: on a full disk, tensorboardX's thread ends and close() hangs.
            events.add_event = events._ev_writer.write_event
            self._writer.file_writer.add_event(Event(step=self.after + 1, session_log=begin))
            self._writer.flush()

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes and flushes them."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def sound(self, name: str, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """Writes audio."""
        self._writer.add_audio(name, audio, step, sample_rate)

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """Writes an image."""
        self._writer.add_image(name, picture, step, dataformats="HW")

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()
