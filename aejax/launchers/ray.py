"""Tasks on a Ray cluster: each is an actor with a child process, and ends with this process.

A task of several processes is as many actors, which Ray starts together: a placement group.
"""

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
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from aejax import launchers
from aejax.launchers import Group, Task, TaskError, first_error
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
        self._processes = launchers.count_processes(options)
        named = {"CPU": needs["num_cpus"], "GPU": needs["num_gpus"]}
        self._bundle = {name: number for name, number in named.items() if number}
        if self._processes > 1 and not self._bundle:
            raise UserError("num_cpus=0 num_gpus=0 give no process anything; raise one of them")
        _warn_if_too_small(self._bundle, self._processes)
        self._environment = share_of_gpus(needs["num_gpus"] or 1)
        # One thread waits in `exception`, one runs `cancel`.
        self._needs = {"max_concurrency": 2, **needs}

    def submit(self, tasks: Sequence[Task]) -> list[launchers.Future]:
        if self._processes > 1:
            return [self._start_together(task) for task in tasks]
        return [Run(self._start(task)) for task in tasks]

    def _start(self, task: Task, process: int = 0, group: Any = None, **options: Any) -> Any:
        """A new actor; ``group`` is a reference to what Ray has yet to find out."""
        context = (self._environment, list(sys.path), os.getcwd())
        actor = ray.remote(Child).options(**self._needs, **options)
        return actor.remote(pickle.dumps(task), task.log_of(process), *context, group)

    def _start_together(self, task: Task) -> "Runs":
        bundles = placement_group([self._bundle] * self._processes)
        count = self._processes
        groups: Any = ray.remote(_groups)
        groups = groups.options(num_cpus=0, num_returns=count, **_in(bundles, 0))
        runs = [
            Run(self._start(task, n, group, **_in(bundles, n)))
            for n, group in enumerate(groups.remote(count))
        ]
        return Runs(runs, bundles)

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


class Runs(launchers.Future):
    """Actors that run a task together."""

    def __init__(self, runs: Sequence[Run], bundles: PlacementGroup):
        self._runs, self._bundles = runs, bundles

    def done(self) -> bool:
        return all(run.done() for run in self._runs)

    def exception(self) -> TaskError | None:
        errors = [run.exception() for run in self._runs]
        remove_placement_group(self._bundles)
        return first_error([str(error) if error else None for error in errors])

    def cancel(self, *, kill: bool = False) -> None:
        for run in self._runs:
            run.cancel(kill=kill)


def _in(bundles: PlacementGroup, index: int) -> dict[str, Any]:
    """The options of an actor or function that is to run in a bundle."""
    return {"scheduling_strategy": PlacementGroupSchedulingStrategy(bundles, index)}


def _groups(count: int) -> list[Group]:
    """What each process needs to join the first one, on this node."""
    address = f"{ray.util.get_node_ip_address()}:{launchers.free_port()}"
    return [(address, count, index) for index in range(count)]


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


def _warn_if_too_small(bundle: Mapping[str, float], count: int) -> None:
    """Warns if the nodes have room for fewer processes than a task has."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    rooms = [
        min((int(node.get(name, 0) // number) for name, number in bundle.items()), default=count)
        for node in nodes
    ]
    if sum(rooms) < count:
        each = " and ".join(f"{number:g} {name}" for name, number in bundle.items())
        which = f"the nodes have {each} for {sum(rooms)} of {count} processes" if any(rooms) else ""
        warn(f"{which or f'no node of the Ray cluster has {each}'}; tasks wait for more")
