"""A task in a Python process of its own on this machine, which ends when its parent does."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from aejax.runtime import stopping
from aejax.runtime.errors import one_line
from aejax.sweeps.launchers.task import STOPPED, Stopped, call, exited, listen

# The child finds modules where its parent does. `multiprocessing` would import the parent's main
# module once more, with the flags it defines.
_CHILD = (
    "import sys; sys.path[:] = sys.argv[1:]\n"
    "from aejax.sweeps.launchers import process; process.child()"
)


class Process:
    """A task that runs in a child process, beside which this one goes on.

    Args:
      pickled: task.
      log: takes its output; without, that goes where this process's does.
      path: where it finds modules: `sys.path`.
      folder: that it works in, so that paths mean what they meant to who asked for it.
      environment: added to that of this process.

    Attributes:
      error: once it has ended, what `Done` has.

    Raises:
      OSError: the log cannot be written, or there is no such folder.
    """

    def __init__(
        self,
        pickled: bytes,
        *,
        log: Path | None,
        path: Sequence[str],
        folder: str,
        environment: Mapping[str, str],
    ):
        self.error: str | None = None
        self._connection, theirs = multiprocessing.Pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(theirs.close)
            output = None
            if log is not None:
                log = Path(folder, log)
                log.parent.mkdir(parents=True, exist_ok=True)
                output = stack.enter_context(log.open("ab"))
            sys.stdout.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, *path],
                stdin=theirs.fileno(),
                stdout=output,
                stderr=output,
                cwd=folder,
                env=os.environ | dict(environment),
                # Ctrl-C in the terminal comes to the parent alone, and what the child starts can be
                # ended together.
                start_new_session=True,
            )
        with contextlib.suppress(OSError):  # it may have ended already
            self._connection.send((log is not None, pickled))

    def ended(self) -> bool:
        """Whether it has."""
        code = self._process.poll()
        if code is None:
            return False
        if not self._connection.closed:
            self.error = exited(code)
            with contextlib.suppress(EOFError, OSError):
                if self._connection.poll():
                    self.error = self._connection.recv()
            self._connection.close()
        return True

    def stop(self) -> None:
        """Asks it to save and end."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends it, and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def child() -> None:
    """What runs in the child: takes the task from its stdin and answers there."""
    connection = Connection(os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        logged, pickled = connection.recv()
    except (EOFError, OSError):
        return
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()
    listen()
    error = _run(pickled)
    if error is not None and logged:
        print(f"error: {error}", file=sys.stderr)
    with contextlib.suppress(OSError):
        connection.send(error)
    if isinstance(error, Stopped):
        stopping.end(stopping.exit_code(signal.SIGTERM))


def _run(pickled: bytes) -> str | None:
    try:
        task = pickle.loads(pickled)
    except KeyboardInterrupt:
        return STOPPED
    except BaseException as error:
        return one_line(error)
    return call(task)


def _end_with_parent(connection: Connection) -> None:
    """The parent says nothing more: whatever comes is its end."""
    with contextlib.suppress(EOFError, OSError):
        connection.recv_bytes()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def share_of_gpus(share: float) -> dict[str, str]:
    """Environment in which JAX takes so much of the memory of GPUs, and not most of it."""
    names = ("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE")
    if share >= 1 or any(name in os.environ for name in names):
        return {}
    return {names[0]: f"{0.9 * share:.3f}"}
