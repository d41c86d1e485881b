"""A piece of work, and how it ended."""

import dataclasses
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aejax.runtime.errors import Interrupted, UserError, one_line


class Stopped(str):
    """How a task ended that was asked to stop."""


STOPPED = Stopped("stopped before its end")


@dataclasses.dataclass(frozen=True)
class Task:
    """A function to call in another process.

    Attributes:
      name: one line, for messages.
      function: at module level, so that the other process can import it by its name.
      arguments: can be pickled.
      log: file that what it prints is appended to, stdout and stderr.
    """

    name: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    log: Path


@dataclasses.dataclass(frozen=True)
class Done:
    """A task that has ended.

    Attributes:
      task: it.
      error: None where the function returned; otherwise one line: the message of its `UserError`,
        ``ValueError: ...``, ``killed by signal 9``, ``exit code 3``.
    """

    task: Task
    error: str | None


def listen() -> None:
    """Has SIGTERM end the task of this process, for where training has a way of its own."""
    known = sys.unraisablehook

    def again(lost: Any) -> None:
        """What is raised in a callback of the garbage collector goes no further."""
        if isinstance(lost.exc_value, KeyboardInterrupt):
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)).start()
        else:
            known(lost)

    sys.unraisablehook = again
    signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, frame: Any) -> None:
    raise KeyboardInterrupt(STOPPED)


def call(task: Task) -> str | None:
    """Calls the function here; its error is one line, with the traceback of a defect on stderr."""
    try:
        task.function(*task.arguments)
    except Interrupted as error:
        return Stopped(one_line(error))
    except UserError as error:
        return one_line(error)
    except SystemExit as error:
        return f"exit code {error.code}" if error.code else None
    except KeyboardInterrupt:
        return STOPPED
    except BaseException as error:
        traceback.print_exc()
        return one_line(error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return None


def exited(code: int) -> str:
    """What a process's return code says where it left no word of its own."""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
