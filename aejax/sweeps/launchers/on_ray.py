"""Tasks on a Ray cluster.

Each is a Python process of its own beside the worker of Ray that watches over it. Stopped tasks
save first; where the worker is killed, or this process is, they end with it.
"""

import contextlib
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from aejax.runtime.errors import LONGEST, UserError, printable
from aejax.runtime.progress import warn
from aejax.sweeps.launchers.drive import GRACE, Backend
from aejax.sweeps.launchers.process import Process, share_of_gpus
from aejax.sweeps.launchers.task import STOPPED, Done, Task

PAUSE = 0.1  # seconds between two looks


class Remote:
    """A task that Ray has.

    Args:
      task: it.
      result: of `_run`.
    """

    def __init__(self, task: Task, result: ray.ObjectRef):
        self._task, self._result = task, result

    def done(self) -> Done | None:
        """How it ended, if it has."""
        if not ray.wait([self._result], timeout=0)[0]:
            return None
        try:
            return Done(self._task, ray.get(self._result))
        except ray.exceptions.TaskCancelledError:
            return Done(self._task, STOPPED)
        except ray.exceptions.WorkerCrashedError:
            return Done(self._task, "the Ray worker that watched over it died")
        except ray.exceptions.RayError as error:
            text = str(error).strip().rpartition("\n")[2]  # a traceback comes before it
            return Done(self._task, printable(text)[:LONGEST])

    def stop(self) -> None:
        """Interrupts the worker, which asks the task to save and end."""
        ray.cancel(self._result)

    def kill(self) -> None:
        """Kills the worker; the task goes with it."""
        ray.cancel(self._result, force=True)


@contextlib.contextmanager
def backend(*, jobs: int, options: Mapping[str, Any]) -> Iterator[Backend]:
    """A cluster that is there, or one on this machine, which ends with the last task.

    Raises:
      UserError: there is none at that address.
    """
    needs = {"num_cpus": options.get("num_cpus", 1.0), "num_gpus": options.get("num_gpus", 0.0)}
    opened = not ray.is_initialized()
    if opened:
        _open(options.get("address"))
    try:
        _warn_if_none_fits(needs)
        share = share_of_gpus(needs["num_gpus"] or 1)
        # Whether to try again is for those to say who launch.
        remote = ray.remote(max_retries=0, **needs)(_run)

        def start(tasks: Sequence[Task]) -> list[Remote]:
            here = (list(sys.path), os.getcwd(), share)
            return [
                Remote(task, remote.remote(pickle.dumps(task), task.log, *here)) for task in tasks
            ]

        yield Backend(start, at_once=jobs, pause=PAUSE)
    finally:
        if opened:
            ray.shutdown()


def _open(address: str | None) -> None:
    try:
        host, colon, port = (address or "").rpartition(":")
        if colon and port.isdigit() and "/" not in host:  # Ray would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        kept = signal.getsignal(signal.SIGTERM)  # Ray puts one of its own there
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, kept)
    except (OSError, OverflowError, ValueError) as error:
        where = f" at {address}" if address else ""
        message = printable(" ".join(str(error).split()))
        raise UserError(f"cannot reach a Ray cluster{where}: {message}") from None


def _warn_if_none_fits(needs: Mapping[str, float]) -> None:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    if not any(all(node.get(names[key], 0) >= needs[key] for key in names) for node in nodes):
        wanted = " and ".join(f"{needs[key]:g} {names[key]}" for key in names if needs[key])
        warn(f"no node of the Ray cluster has {wanted}; tasks wait for one")


def _run(
    pickled: bytes, log: Path, path: Sequence[str], folder: str, environment: Mapping[str, str]
) -> str | None:
    """What the worker does: watches over the task's process."""
    folder = folder if os.path.isdir(folder) else os.getcwd()
    try:
        process = Process(pickled, log=log, path=path, folder=folder, environment=environment)
    except OSError:  # no such path here: Ray keeps the output
        process = Process(pickled, log=None, path=path, folder=folder, environment=environment)
    try:
        while not process.ended():
            time.sleep(PAUSE)
        return process.error
    finally:  # interrupted
        if not process.ended():
            process.stop()
            deadline = time.monotonic() + GRACE
            while not process.ended() and time.monotonic() < deadline:
                time.sleep(PAUSE)
            process.kill()
