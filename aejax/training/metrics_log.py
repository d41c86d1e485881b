"""Scalars by step, as JSON lines and for TensorBoard."""

import contextlib
import json
import math
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from aejax.runtime import files
from aejax.runtime.arrays import is_number
from aejax.runtime.errors import DiskFull, UserError
from aejax.runtime.progress import warn

_MOST_BYTES = 1 << 30


class MetricsLog:
    """Appends to ``metrics.jsonl`` and a TensorBoard file in a run's directory.

    Args:
      workdir: the run's directory.
      after: the step that a run goes on from; what was logged beyond it is dropped, since it will
        be logged again. -1 for a run that begins.
    """

    def __init__(self, workdir: Path, after: int):
        from tensorboardX import SummaryWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        path = workdir / "metrics.jsonl"
        earlier = [line for line in _mended(path, after) if line["step"] <= after]
        files.write_text(path, "".join(json.dumps(line) + "\n" for line in earlier))
        self._lines = path.open("a")
        self._path = path
        begin = SessionLog(status=SessionLog.START)  # what was logged of later steps is dropped
        with files.explain_full_disk(path):
            self._tensorboard = SummaryWriter(str(workdir))
            events = self._tensorboard.file_writer.event_writer
            # At once: a thread of its own would end at a full disk, and be waited for for ever.
            events.add_event = events._ev_writer.write_event
            self._tensorboard.file_writer.add_event(Event(step=after + 1, session_log=begin))
            self._tensorboard.flush()

    def __call__(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one line, at once."""
        with files.explain_full_disk(self._path):
            self._write(step, scalars)

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        # What is not finite is null: JSON has no word for it.
        finite = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
        self._lines.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
        self._lines.flush()
        for name, value in scalars.items():
            self._tensorboard.add_scalar(name, value, step)
        self._tensorboard.flush()

    def sound(self, name: str, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """Hands TensorBoard audio ``[samples, channels]``, below 1 in magnitude."""
        with files.explain_full_disk(self._path):
            self._tensorboard.add_audio(name, audio, step, sample_rate)

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """Hands TensorBoard a grey picture, uint8 ``[height, width]``."""
        with files.explain_full_disk(self._path):
            self._tensorboard.add_image(name, picture, step, dataformats="HW")

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Each line is written as it comes: after an error it is no news that the last was not.
        late = contextlib.nullcontext() if error is None else contextlib.suppress(OSError, DiskFull)
        with late, files.explain_full_disk(self._path):
            self._lines.close()
            self._tensorboard.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``; a last line cut short by a kill is left out.

    Raises:
      UserError: another line is damaged, or the file is something else.
    """
    if not os.path.lexists(path):
        return []
    lines, problems = _read(path)
    if problems:
        raise UserError(problems[0])
    return lines


def _mended(path: Path, after: int) -> list[dict[str, Any]]:
    """The lines of the log of a run that goes on from that step. Those that are damaged are named
    and left out, and the file as it was is kept under another name."""
    if after >= 0 and not os.path.lexists(path):
        warn(f"{path} is missing; it has nothing of the steps up to {after}")
    if not os.path.lexists(path):
        return []
    lines, problems = _read(path)
    if problems:
        aside = path.with_name(path.name + ".damaged")
        with files.atomic_write(aside) as beside:
            shutil.copyfile(path, beside)
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        warn(f"{problems[0]}{more}; left out of the log, which is kept as it was in {aside.name}")
    return lines


def _read(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Lines of scalars by step, and what is wrong with the others."""
    lines, problems = [], []
    for number, line in enumerate(files.read_lines(path, _MOST_BYTES), start=1):
        if isinstance(line, dict) and not _is_scalars(line):
            line = f"{path}, line {number} is damaged (no scalars of a step)"
        if isinstance(line, dict):
            lines.append(line)
        else:
            problems.append(line)
    return lines, problems


def _is_scalars(line: dict[str, Any]) -> bool:
    return type(line.get("step")) is int and all(x is None or is_number(x) for x in line.values())
