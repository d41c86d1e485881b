"""What all launchers do alike: so many at once, each given back as it ends, all stopped at last."""

import collections
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from typing import Protocol, runtime_checkable

from aejax.runtime import stopping
from aejax.runtime.errors import Interrupted
from aejax.sweeps.launchers.task import Done, Task

GRACE = 30.0  # seconds between asking a task to stop and killing it


@runtime_checkable
class Running(Protocol):
    """A task that has been handed over."""

    def done(self) -> Done | None:
        """How it ended, if it has."""

    def stop(self) -> None:
        """Asks it to save and end."""

    def kill(self) -> None:
        """Ends it, and all that it started."""


@dataclasses.dataclass(frozen=True)
class Backend:
    """Where tasks run.

    Attributes:
      start: hands tasks over.
      at_once: tasks that it is handed before one has ended, at most.
      pause: seconds between two looks at what has ended.
    """

    start: Callable[[Sequence[Task]], Sequence[Running]]
    at_once: int
    pause: float


def drive(tasks: Sequence[Task], backend: Backend) -> Generator[Done, None, None]:
    """Gives tasks back as they end; stops what runs when it is closed or a signal comes."""
    waiting = collections.deque(tasks)
    running: list[Running] = []

    def kill() -> None:
        for each in running:
            each.kill()

    with stopping.graceful() as asked_to_stop, stopping.at_end(kill):
        try:
            while waiting or running:
                _stop_if(asked_to_stop())
                free = min(backend.at_once - len(running), len(waiting))
                if free:
                    running += backend.start([waiting.popleft() for _ in range(free)])
                ended = [(each, done) for each in running if (done := each.done())]
                for each, done in ended:
                    running.remove(each)
                    yield done
                if not ended:
                    time.sleep(backend.pause)
        finally:
            if running:
                _stop(running, backend.pause)


def _stop(running: Sequence[Running], pause: float) -> None:
    print(
        f"stopping what runs ({len(running)}), which may save first; Ctrl-C again kills it",
        file=sys.stderr,
    )
    left = list(running)
    try:
        for each in left:
            each.stop()
        deadline = time.monotonic() + GRACE
        while left and time.monotonic() < deadline:
            time.sleep(min(pause, 0.2))
            left = [each for each in left if each.done() is None]
    finally:
        for each in left:
            each.kill()


def _stop_if(number: int | None) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number is not None:
        raise Interrupted("stopped by SIGTERM; the same command goes on", number)
