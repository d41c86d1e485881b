"""Tasks as jobs of a SLURM cluster, by way of submitit.

What submitit writes goes beside the log of the first task, into ``submitit/``. All tasks are handed
over as one job array, of which SLURM runs so many at once; a task that is told that its time is
nearly over (SIGUSR2) saves and ends, as it does when its job is cancelled. Jobs that SLURM has go
on where the process that handed them over is killed outright.
"""

import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import submitit
from submitit.core import utils

from aejax.runtime.errors import LONGEST, UserError, printable
from aejax.sweeps.launchers.drive import Backend
from aejax.sweeps.launchers.task import STOPPED, Done, Task, call, listen

DAY = 24 * 60  # minutes; submitit's own default is 5


CLUSTERS = ("slurm", "local")


class Job:
    """A task that the cluster has.

    Args:
      task: it.
      job: submitit's.
    """

    def __init__(self, task: Task, job: submitit.Job[str | None]):
        self._task, self._job = task, job
        self._cancelled, self._local = False, isinstance(job, submitit.LocalJob)

    def done(self) -> Done | None:
        """How it ended, if it has."""
        if self._cancelled and not self._job.paths.stdout.exists():
            return Done(self._task, STOPPED)  # before it began
        if not self._job.done():
            return None
        if self._local and not self._job.paths.result_pickle.exists():
            return Done(self._task, "its process was killed")
        try:
            return Done(self._task, self._job.result())  # looks for a while on a shared file system
        except utils.FailedJobError as error:
            return Done(self._task, _last_line(str(error)))
        except utils.UncompletedJobError:
            job = self._job
            return Done(self._task, f"job {job.job_id} left no result (state: {job.state})")

    def stop(self) -> None:
        """Sends SIGTERM, or has SLURM send it as it cancels the job."""
        self._cancelled = True
        if self._local:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self._job.job_id), signal.SIGTERM)
        else:
            self._job.cancel(check=False)

    def kill(self) -> None:
        """Kills it; SLURM does that by itself with what it has cancelled."""
        if self._local:
            self._job.cancel(check=False)


def _last_line(message: str) -> str:
    """The error at the end of the traceback that submitit puts between two rulers."""
    trace = message.partition("--\n")[2].partition("\n--")[0]
    return printable(trace.strip().rpartition("\n")[2])[:LONGEST]


@contextlib.contextmanager
def backend(*, jobs: int, options: Mapping[str, Any]) -> Iterator[Backend]:
    """A cluster, with submitit's parameters.

    Raises:
      UserError: it is not here, or does not take the tasks.
    """
    parameters = {"timeout_min": DAY, "name": "aejax", **options}
    parameters["slurm_array_parallelism"] = jobs
    cluster = parameters.pop("cluster", CLUSTERS[0])
    if cluster not in CLUSTERS:
        raise UserError(f"cluster={cluster!r} is neither {' nor '.join(CLUSTERS)}")
    if "slurm_setup" in parameters:
        parameters["slurm_setup"] = [parameters["slurm_setup"]]

    def start(tasks: Sequence[Task]) -> list[Job]:
        try:
            executor = submitit.AutoExecutor(tasks[0].log.parent / "submitit", cluster=cluster)
            executor.update_parameters(**parameters)
            pickled = [pickle.dumps(task) for task in tasks]
            submitted = executor.map_array(_run, pickled, [list(sys.path)] * len(tasks))
        except RuntimeError as error:
            message = printable(" ".join(str(error).split()))
            raise UserError(f"the cluster {cluster} does not take the tasks: {message}") from None
        return [Job(task, job) for task, job in zip(tasks, submitted, strict=True)]

    if cluster == "slurm":
        yield Backend(start, at_once=sys.maxsize, pause=1.0)
    else:
        yield Backend(start, at_once=jobs, pause=0.2)


def _run(pickled: bytes, path: Sequence[str]) -> str | None:
    """What the job does: the task, with its output in the task's log."""
    sys.path += [folder for folder in path if folder not in sys.path]
    task = pickle.loads(pickled)
    with contextlib.suppress(OSError), task.log.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    listen()  # submitit has SIGTERM ignored
    nearly_over = getattr(signal, f"SIG{submitit.JobEnvironment.USR_SIG}")
    signal.signal(nearly_over, lambda *_: signal.raise_signal(signal.SIGTERM))
    error = call(task)
    if error is not None:
        print(f"error: {error}", file=sys.stderr)
    return error
