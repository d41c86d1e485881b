"""Tasks as jobs of a SLURM cluster, by submitit.

They are submitted as one job array; SLURM runs a limited number at a time. A task saves and ends if
its job is cancelled or its time is nearly over (SIGUSR2). Jobs continue if this process is killed.
Files of submitit are in ``submitit/`` beside the logs.
"""

import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core import utils

from aejax import launchers
from aejax.launchers import Task, TaskError
from aejax.launchers.local import run_task
from aejax.runtime.errors import UserError, one_line

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
        if "slurm_setup" in options:
            self._parameters["slurm_setup"] = [options["slurm_setup"]]
        is_slurm = self._cluster == "slurm"
        self.max_workers, self.poll = (sys.maxsize, 1.0) if is_slurm else (jobs, 0.2)

    def submit(self, tasks: Sequence[Task]) -> list["Job"]:
        pickled, logs = [pickle.dumps(task) for task in tasks], [task.log for task in tasks]
        try:
            array = submitit.AutoExecutor(logs[0].parent / "submitit", cluster=self._cluster)
            array.update_parameters(**self._parameters)
            jobs = array.map_array(_run, pickled, logs, [list(sys.path)] * len(tasks))
        except RuntimeError as error:
            refused = f"the cluster {self._cluster} refuses the tasks"
            raise UserError(f"{refused}: {one_line(error)}") from None
        return [Job(job) for job in jobs]


class Job(launchers.Future):
    """A job of submitit."""

    def __init__(self, job: submitit.Job[str | None]):
        self._job, self._is_local = job, isinstance(job, submitit.LocalJob)
        self._cancelled = False

    def done(self) -> bool:
        before_start = self._cancelled and not self._job.paths.stdout.exists()
        return before_start or self._job.done()

    def exception(self) -> TaskError | None:
        try:
            error = self._job.result()
        except (utils.FailedJobError, utils.UncompletedJobError):
            job = self._job
            error = f"job {job.job_id} left no result (state: {job.state}); see {job.paths.stderr}"
        return TaskError(error) if error else None

    def cancel(self, *, kill: bool = False) -> None:
        if self._cancelled and not kill:
            return
        self._cancelled = True
        if self._is_local and not kill:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self._job.job_id), signal.SIGTERM)
        elif self._is_local or not kill:  # SLURM sends SIGTERM, and later SIGKILL
            self._job.cancel(check=False)


def _run(pickled: bytes, log: Path, path: Sequence[str]) -> str | None:
    sys.path += [folder for folder in path if folder not in sys.path]
    nearly_over = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
    signal.signal(nearly_over, lambda *_: signal.raise_signal(signal.SIGTERM))
    return run_task(pickled, log)
