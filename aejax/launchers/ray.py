"""Tasks on a Ray cluster: each is an actor with a child process, and ends with this process."""

import logging
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from aejax import launchers
from aejax.launchers import Task, TaskError
from aejax.launchers.local import Child, share_of_gpus
from aejax.runtime.errors import UserError, one_line, printable
from aejax.runtime.progress import warn


class Executor(launchers.Executor):
    """Runs tasks on an existing cluster, or on a temporary cluster on this machine.

    Raises:
      UserError: there is no cluster at that address.
    """

    poll = 0.1

    def __init__(self, jobs: int, options: Mapping[str, Any]):
        super().__init__()
        self.max_workers = jobs
        self._is_new = not ray.is_initialized()
        if self._is_new:
            _connect(options.get("address"))
        needs = {"num_cpus": options.get("num_cpus", 1.0), "num_gpus": options.get("num_gpus", 0.0)}
        _warn_if_none_fits(needs)
        self._environment = share_of_gpus(needs["num_gpus"] or 1)
        # One thread waits in `exception`, one runs `cancel`.
        self._actor = ray.remote(Child).options(max_concurrency=2, **needs)

    def submit(self, tasks: Sequence[Task]) -> list["Run"]:
        context = (self._environment, list(sys.path), os.getcwd())
        return [Run(self._actor.remote(pickle.dumps(task), task.log, *context)) for task in tasks]

    def shutdown(self) -> None:
        super().shutdown()
        if self._is_new:
            ray.shutdown()


class Run(launchers.Future):
    """A `Child` that is an actor of Ray."""

    def __init__(self, actor: Any):
        self._actor, self._exception = actor, actor.exception.remote()
        self._started = actor.__ray_ready__.remote()

    def done(self) -> bool:
        return bool(ray.wait([self._exception], timeout=0)[0])

    def exception(self) -> TaskError | None:
        try:
            return ray.get(self._exception)
        except ray.exceptions.RayError as error:  # a message of many lines
            return TaskError(f"its Ray worker died: {one_line(error)}")
        finally:
            ray.kill(self._actor)  # frees its CPUs and GPUs

    def cancel(self, *, kill: bool = False) -> None:
        if kill or not ray.wait([self._started], timeout=0)[0]:
            ray.kill(self._actor)  # and its child process
        else:
            self._actor.cancel.remote()


def _connect(address: str | None) -> None:
    try:
        host, colon, port = (address or "").rpartition(":")
        if colon and port.isdigit() and "/" not in host:  # Ray would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        handler = signal.getsignal(signal.SIGTERM)  # Ray replaces it
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
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
