"""The same function, somewhere else: processes of this machine, SLURM, Ray.

All of them read and write the same files: other machines need the same file system, with the same
paths, and an environment with aejax in it.
"""

import contextlib
import importlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from aejax.runtime.errors import UserError
from aejax.runtime.progress import bar
from aejax.sweeps.launchers.drive import Backend, drive
from aejax.sweeps.launchers.task import Done, Task

__all__ = ["LAUNCHERS", "OPTIONS", "Done", "Task", "check", "launch"]

LAUNCHERS = ("local", "submitit", "ray")
# What each takes, and as what.
OPTIONS: dict[str, dict[str, Callable[[str], Any]]] = {
    "local": {},
    "submitit": {
        "cluster": str,  # "slurm" or "local"; found out without
        "timeout_min": int,  # minutes that a task may take; a day without
        "mem_gb": float,
        "cpus_per_task": int,
        "gpus_per_node": int,
        "name": str,
        "slurm_partition": str,
        "slurm_account": str,
        "slurm_qos": str,
        "slurm_constraint": str,
        "slurm_gres": str,
        "slurm_nodelist": str,
        "slurm_exclude": str,
        "slurm_comment": str,
        "slurm_signal_delay_s": int,  # before the time is over a task is told to save, so long
        "slurm_setup": str,  # a shell command that comes first
    },
    "ray": {
        "address": str,  # of a cluster; "auto" finds the one here; without, as ray.init() does
        "num_cpus": float,  # of a task; 1 without
        "num_gpus": float,  # of a task; 0 without
    },
}


def launch(
    tasks: Sequence[Task], *, kind: str, jobs: int, options: Mapping[str, str]
) -> Generator[Done, None, None]:
    """Runs tasks in processes of their own and gives each back as it ends.

    With the launcher "local" and one job at a time a task has the terminal for its output; in all
    other cases its log takes it, and a progress bar counts the tasks that have ended. Whoever stops
    early closes the iterator: what runs is asked to end by SIGTERM, which makes a training save,
    and is killed after half a minute. SIGINT and SIGTERM do that too. Where this process is killed
    outright, so are its tasks, but for those that a SLURM cluster already has.

    Args:
      tasks: what to run; begun in this order.
      kind: one of `LAUNCHERS`.
      jobs: tasks that run at once, at most.
      options: of the launcher, see `OPTIONS`.

    Returns:
      Tasks in the order in which they end.

    Raises:
      UserError: unknown or bad options, an extra that is not installed; while it iterates, no
        cluster, and `Interrupted` on SIGTERM.
      KeyboardInterrupt: while it iterates, on SIGINT, after everything has ended.
    """
    parsed = check(kind=kind, jobs=jobs, options=options)
    module = importlib.import_module(f"aejax.sweeps.launchers.{_MODULES[kind]}")
    return _launch(list(tasks), lambda: module.backend(jobs=jobs, options=parsed), kind, jobs)


def check(*, kind: str, jobs: int, options: Mapping[str, str]) -> dict[str, Any]:
    """What `launch` would refuse, before there is anything to launch; its options, parsed.

    Raises:
      UserError: see `launch`.
    """
    if kind not in LAUNCHERS:
        raise UserError(f"unknown launcher {kind!r}; there are {', '.join(LAUNCHERS)}")
    if jobs < 1:
        raise UserError(f"{jobs} jobs at once cannot do anything; give 1 or more")
    parsed = _parse(kind, options)
    _require(kind)
    return parsed


_MODULES = {"local": "local", "submitit": "on_submitit", "ray": "on_ray"}


def _launch(
    tasks: list[Task],
    backend: Callable[[], contextlib.AbstractContextManager[Backend]],
    kind: str,
    jobs: int,
) -> Generator[Done, None, None]:
    if not tasks:
        return
    quiet = kind == "local" and jobs == 1  # the task's own bars are on the terminal
    with (
        backend() as opened,
        contextlib.closing(drive(tasks, opened)) as ended,
        bar(total=len(tasks), desc="finished", unit="task", disable=quiet) as finished,
    ):
        for done in ended:
            finished.update()
            yield done


def _parse(kind: str, options: Mapping[str, str]) -> dict[str, Any]:
    known, parsed = OPTIONS[kind], {}
    for name, text in options.items():
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise UserError(f"the launcher {kind} has no option {name!r}; {takes}")
        try:
            parsed[name] = known[name](text)
            good = known[name] is str or parsed[name] >= 0
        except ValueError:
            good = False
        if not good:
            what = "a whole number" if known[name] is int else "a number"
            raise UserError(f"the launcher {kind} takes {what} for {name}, not {text!r}")
    return parsed


def _require(kind: str) -> None:
    if kind == "local":
        return
    try:
        importlib.import_module(kind)
    except ImportError:
        raise UserError(
            f"the launcher {kind} is not installed: pip install -e '.[{kind}]'"
        ) from None
