"""Tasks in processes of this machine."""

import contextlib
import os
import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aejax.runtime.malloc import SHARE_OF_MEMORY
from aejax.sweeps.launchers.drive import Backend
from aejax.sweeps.launchers.process import Process, share_of_gpus
from aejax.sweeps.launchers.task import Done, Task


class Child:
    """A task in a child process.

    Args:
      task: it.
      logged: whether its output goes into its log.
      environment: added to that of this process.
    """

    def __init__(self, task: Task, logged: bool, environment: Mapping[str, str]):
        self._task = task
        log = task.log if logged else None
        self._process = Process(
            pickle.dumps(task), log=log, path=sys.path, folder=os.getcwd(), environment=environment
        )
        self.stop, self.kill = self._process.stop, self._process.kill

    def done(self) -> Done | None:
        """How it ended, if it has."""
        return Done(self._task, self._process.error) if self._process.ended() else None


@contextlib.contextmanager
def backend(*, jobs: int, options: Mapping[str, Any]) -> Iterator[Backend]:
    """Child processes; with several at once each gets an equal share of the memory."""
    del options
    environment = {**share_of_gpus(1 / jobs), SHARE_OF_MEMORY: str(1 / jobs)}

    def start(tasks: Sequence[Task]) -> list[Child]:
        return [Child(task, jobs > 1, environment) for task in tasks]

    yield Backend(start, at_once=jobs, pause=0.05)
