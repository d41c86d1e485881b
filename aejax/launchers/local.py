"""Tasks in child processes of this machine, which end together with this process."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aejax import launchers
from aejax.launchers import Group, Task, TaskError
from aejax.runtime import stopping
from aejax.runtime.errors import UserError, one_line
from aejax.runtime.malloc import SHARE_OF_MEMORY

# The child has the parent's import path. `multiprocessing` would import the parent's main module
# again, and define its flags twice.
_CHILD = (
    "import sys; sys.path[:] = sys.argv[1:]\nfrom aejax.launchers import local; local.run_child()"
)


class Executor(launchers.Executor):
    """Starts child processes, each with an equal fraction of the memory."""

    poll = 0.05

    def __init__(self, jobs: int, options: Mapping[str, Any]):
        super().__init__()
        self.max_workers = jobs
        self._environment = {**share_of_gpus(1 / jobs), SHARE_OF_MEMORY: str(1 / jobs)}

    def submit(self, tasks: Sequence[Task]) -> list["Child"]:
        logs = [task.log if self.max_workers > 1 else None for task in tasks]
        context = (self._environment, sys.path, os.getcwd())
        return [Child(pickle.dumps(x), log, *context) for x, log in zip(tasks, logs, strict=True)]


class Child(launchers.Future):
    """A task in a child process with its own session.

    Args:
      pickled: the task.
      log: file for its output; None for the output of this process.
      environment: variables added to those of this process.
      path: ``sys.path`` of the child.
      folder: working directory of the child, if it exists on this machine.
      group: of several processes that run the task together.
    """

    def __init__(
        self,
        pickled: bytes,
        log: Path | None,
        environment: Mapping[str, str],
        path: Sequence[str],
        folder: str,
        group: Group | None = None,
    ):
        self._connection, theirs = multiprocessing.Pipe()
        self._error: TaskError | None = None
        self._cancelled = False
        sys.stdout.flush()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, *path],
                cwd=folder if os.path.isdir(folder) else None,
                stdin=theirs.fileno(),
                env=os.environ | environment,
                # Ctrl-C in the terminal reaches only this process, and the child can be killed
                # together with its own children.
                start_new_session=True,
            )
        with contextlib.suppress(OSError):  # it may have ended already
            self._connection.send((pickled, log, group))

    def done(self) -> bool:
        return self._process.poll() is not None

    def exception(self) -> TaskError | None:
        code = self._process.wait()
        if not self._connection.closed:
            with self._connection, contextlib.suppress(EOFError, OSError):
                error = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
                self._error = TaskError(error)
                if self._connection.poll():
                    error = self._connection.recv()
                    self._error = TaskError(error) if error else None
        return self._error

    def cancel(self, *, kill: bool = False) -> None:
        if kill:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        elif not self._cancelled:  # a second SIGTERM would end it before it has saved
            self._cancelled = True
            self._process.terminate()


def run_child() -> None:
    """Runs the task received on stdin, and sends its error back."""
    connection = Connection(os.dup(0))
    with open(os.devnull) as null:
        os.dup2(null.fileno(), 0)
    try:
        pickled, log, group = connection.recv()
    except (EOFError, OSError):
        return
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    error = run_task(pickled, log, group)
    with contextlib.suppress(OSError):
        connection.send(error)
    if error is not None:
        stopping.end(1)  # `sys.exit` would wait for threads that compile


def _end_with_parent(connection: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        connection.recv_bytes()  # returns only when the parent has ended
    os.killpg(os.getpgrp(), signal.SIGKILL)


def run_task(pickled: bytes, log: Path | None, group: Group | None = None) -> str | None:
    """Runs a task in this process and returns its error; appends its output to the log if possible.

    On SIGTERM a training saves and ends; any other process ends at once.

    Args:
      pickled: the task.
      log: file for its output; None for the output of this process.
      group: of several processes that run the task together, the arguments of `rendezvous.start`.
    """
    with contextlib.suppress(OSError):
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
    stopping.listen("the same command goes on")
    error = None
    try:
        if group is not None:
            from aejax.runtime import rendezvous  # slow, as it needs NumPy

            rendezvous.start(*group)
        task = pickle.loads(pickled)
        task.function(*task.arguments)
    except SystemExit as exit_:
        error = f"exit code {exit_.code}" if exit_.code else None
    except BaseException as raised:
        error = one_line(raised)
        if not isinstance(raised, UserError):
            traceback.print_exc()
    if error and log is not None:
        print(f"error: {error}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    return error


def share_of_gpus(share: float) -> dict[str, str]:
    """Environment variables that limit JAX to a fraction of the memory of GPUs."""
    names = ("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE")
    if share >= 1 or any(name in os.environ for name in names):
        return {}
    return {names[0]: f"{0.9 * share:.3f}"}
