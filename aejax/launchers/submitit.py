"""Tasks as jobs of a SLURM cluster, by submitit.

They are submitted as one job array; SLURM runs a limited number at a time. A job may have several
processes, on several nodes, which run its task together. A task saves and ends if its job is
cancelled or its time is nearly over (SIGUSR2). Jobs continue if this process is killed.
Files of submitit are in ``submitit/`` beside the logs.
"""

import atexit
import contextlib
import functools
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core import utils
from submitit.local import local

from aejax import launchers
from aejax.launchers import Task, TaskError, first_error
from aejax.launchers.local import run_task
from aejax.runtime import stopping
from aejax.runtime.errors import UserError, one_line
from aejax.runtime.malloc import SHARE_OF_MEMORY

# Jobs of the local cluster have a session of their own: Ctrl-C in the terminal, on which submitit
# kills them, reaches this process alone. Their stdin ends with it. It has no option for either.
_popen = functools.partial(subprocess.Popen, start_new_session=True, stdin=subprocess.PIPE)
local.subprocess = types.SimpleNamespace(Popen=_popen)  # type: ignore[assignment]

_DEFAULTS = {"cluster": "slurm", "timeout_min": 24 * 60, "name": "aejax"}


class Executor(launchers.Executor):
    """Submits tasks to a cluster, with submitit's parameters.

    Raises:
      UserError: the cluster is unknown; on `submit`: it refuses the tasks.
    """

    def __init__(self, jobs: int, options: Mapping[str, Any]):
        super().__init__()
        self._parameters = {**_DEFAULTS, **options, "slurm_array_parallelism": jobs}
        self._cluster = self._parameters.pop("cluster")
        if self._cluster not in ("slurm", "local"):
            raise UserError(f"cluster={self._cluster!r} is neither slurm nor local")
        self._processes = launchers.count_processes(options)
        self._gpus = _gpus_of_process(options)
        if self._cluster == "local" and options.get("nodes", 1) > 1:
            raise UserError(f"cluster=local is one node, not nodes={options['nodes']}")
        if "slurm_setup" in options:
            self._parameters["slurm_setup"] = [options["slurm_setup"]]
        is_slurm = self._cluster == "slurm"
        self.max_workers, self.poll = (sys.maxsize, 1.0) if is_slurm else (jobs, 0.2)

    def submit(self, tasks: Sequence[Task]) -> list["Job"]:
        pickled = [pickle.dumps(task) for task in tasks]
        logs = [[task.log_of(process) for process in range(self._processes)] for task in tasks]
        # JAX finds the processes of SLURM by itself.
        is_local = self._cluster == "local"
        address = f"127.0.0.1:{launchers.free_port()}" if is_local else None
        context = (address, self._gpus, list(sys.path))
        try:
            folder = tasks[0].log.parent / "submitit"
            array = submitit.AutoExecutor(folder, cluster=self._cluster)
            array.update_parameters(**self._parameters)
            jobs = array.map_array(_run, pickled, logs, [context] * len(tasks))
        except RuntimeError as error:
            refused = f"the cluster {self._cluster} refuses the tasks"
            raise UserError(f"{refused}: {one_line(error)}") from None
        return [Job(job) for job in jobs]


class Job(launchers.Future):
    """A job of submitit."""

    def __init__(self, job: submitit.Job[str | None]):
        self._job, self._is_local = job, isinstance(job, submitit.LocalJob)
        self._processes = [job.task(n) for n in range(job.num_tasks)]
        self._cancelled = False
        if self._is_local:  # numbers of processes come again
            for process in self._processes:
                process.paths.result_pickle.unlink(missing_ok=True)

    def done(self) -> bool:
        may_start = self._is_local or not self._cancelled or self._job.paths.stdout.exists()
        return not may_start or self._job.done()

    def exception(self) -> TaskError | None:
        self._job.wait()
        return first_error([_error_of(process) for process in self._processes])

    def cancel(self, *, kill: bool = False) -> None:
        if self._cancelled and not kill:
            return
        self._cancelled = True
        if self._is_local:
            send, number = (os.killpg, signal.SIGKILL) if kill else (os.kill, signal.SIGTERM)
            with contextlib.suppress(ProcessLookupError):
                send(int(self._job.job_id), number)
        elif not kill:  # SLURM sends SIGTERM, and later SIGKILL
            self._job.cancel(check=False)


def _error_of(process: submitit.Job[str | None]) -> str | None:
    """The error of one process of a job."""
    try:
        return process.result()
    except (utils.FailedJobError, utils.UncompletedJobError):
        left = f"job {process.job_id} left no result (state: {process.state})"
        return f"{left}; see {process.paths.stderr}"


def _gpus_of_process(options: Mapping[str, Any]) -> int:
    """The number of GPUs for each of several processes; 0 leaves the choice to JAX."""
    gpus, tasks = options.get("gpus_per_node", 0), options.get("tasks_per_node", 1)
    if gpus % tasks:
        raise UserError(f"gpus_per_node={gpus} cannot be divided among tasks_per_node={tasks}")
    return gpus // tasks if launchers.count_processes(options) > 1 else 0


def _run(pickled: bytes, logs: Sequence[Path], context: tuple[str | None, int, list[str]]) -> Any:
    address, gpus, path = context
    sys.path += [folder for folder in path if folder not in sys.path]
    logging.getLogger("submitit").setLevel(logging.WARNING)  # it would write "successfully" below
    nearly_over = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
    signal.signal(nearly_over, lambda *_: signal.raise_signal(signal.SIGTERM))
    if address is not None:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    job, group = submitit.JobEnvironment(), None
    if len(logs) > 1:
        group = (address, len(logs), job.global_rank) if address else (None, None, None)
        os.environ.setdefault(SHARE_OF_MEMORY, str(job.num_nodes / len(logs)))
        if gpus:
            mine = range(job.local_rank * gpus, (job.local_rank + 1) * gpus)
            os.environ["JAX_LOCAL_DEVICE_IDS"] = ",".join(map(str, mine))
    error = run_task(pickled, logs[job.global_rank], group)
    if error is not None:  # once the result is written; JAX would wait for the other processes
        atexit.register(stopping.end, 1)
    return error


def _stop_with_stdin() -> None:
    """Saves and ends when the process that has launched this one has ended."""
    os.read(0, 1)
    signal.raise_signal(signal.SIGTERM)
