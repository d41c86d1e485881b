"""Log of scalars by step, as JSON lines and by loggers."""

import contextlib
import json
import math
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from aejax.loggers import Logger
from aejax.runtime import files, processes
from aejax.runtime.arrays import is_number
from aejax.runtime.errors import DiskFull, UserError
from aejax.runtime.progress import warn

_MOST_BYTES = 1 << 30


class MetricsLog:
    """Appends to ``metrics.jsonl`` in a run's directory, and calls ``loggers``.

    Args:
      workdir: the run's directory.
      after: step that the run resumes from, -1 for a new run; later lines are dropped.

    Attributes:
      loggers: what else shows the log; closed with it.
    """

    def __init__(self, workdir: Path, after: int):
        self.loggers: list[Logger] = []
        path = workdir / "metrics.jsonl"
        earlier = [line for line in _read_to_resume(path, after) if line["step"] <= after]
        files.write_text(path, "".join(json.dumps(line) + "\n" for line in earlier))
        # Of several processes, the main one alone writes.
        self._lines = (path if processes.is_main() else Path(os.devnull)).open("a")
        self._path = path

    def __call__(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one line and flushes it."""
        with files.explain_full_disk(self._path):
            self._write(step, scalars)

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        # JSON has neither infinity nor NaN.
        finite = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
        self._lines.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
        self._lines.flush()
        for logger in self.loggers:
            logger.scalars(step, scalars)

    def sound(self, name: str, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """Writes audio ``[samples, channels]``, from -1 to 1, to all loggers."""
        with files.explain_full_disk(self._path):
            for logger in self.loggers:
                logger.sound(name, step, audio, sample_rate)

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """Writes a grey-scale image, uint8 ``[height, width]``, to all loggers."""
        with files.explain_full_disk(self._path):
            for logger in self.loggers:
                logger.picture(name, step, picture)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # All lines are flushed already, so errors here must not hide an earlier one.
        ignored = (
            contextlib.nullcontext() if error is None else contextlib.suppress(OSError, DiskFull)
        )
        with ignored, files.explain_full_disk(self._path):
            self._lines.close()
            for logger in self.loggers:
                logger.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``, without an incomplete last line.

    Raises:
      UserError: another line is damaged.
    """
    if not os.path.lexists(path):
        return []
    lines, problems = _read(path)
    if problems:
        raise UserError(problems[0])
    return lines


def _read_to_resume(path: Path, after: int) -> list[dict[str, Any]]:
    """The intact lines of the log. Warns of damaged lines, and copies the original file if there
    are any."""
    if after >= 0 and not os.path.lexists(path):
        warn(f"{path} is missing; the new log begins after step {after}")
    if not os.path.lexists(path):
        return []
    lines, problems = _read(path)
    if problems:
        aside = path.with_name(path.name + ".damaged")
        with files.atomic_write(aside) as beside:
            shutil.copyfile(path, beside)
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        warn(f"{problems[0]}{more}; left out, the original log is in {aside.name}")
    return lines


def _read(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The valid lines, and messages about the others."""
    lines, problems = [], []
    for number, line in enumerate(files.read_lines(path, _MOST_BYTES), start=1):
        if isinstance(line, dict) and not _is_scalars(line):
            line = f"{path}, line {number} is damaged (not scalars of a step)"
        if isinstance(line, dict):
            lines.append(line)
        else:
            problems.append(line)
    return lines, problems


def _is_scalars(line: dict[str, Any]) -> bool:
    return type(line.get("step")) is int and all(x is None or is_number(x) for x in line.values())
