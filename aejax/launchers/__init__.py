"""Runs functions in other processes: on this machine, a SLURM cluster, or a Ray cluster.

All processes share a file system, with the same paths, and have aejax in their environment.
"""

import abc
import collections
import contextlib
import dataclasses
import importlib
import math
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aejax.runtime import stopping, words
from aejax.runtime.errors import Interrupted, UserError
from aejax.runtime.progress import bar

GRACE = 30.0  # seconds from SIGTERM to SIGKILL
# What `run_task` needs to join the processes of a task: the arguments of `rendezvous.start`.
Group = tuple[str | None, int | None, int | None]
_SLURM = ("partition", "account", "qos", "constraint", "gres", "nodelist", "exclude", "comment")
# The options of each launcher, and their types.
OPTIONS: dict[str, dict[str, Callable[[str], Any]]] = {
    "local": {},
    "submitit": {
        "cluster": str,  # "slurm" or "local"
        "timeout_min": int,  # time limit of a task in minutes; a day by default
        "mem_gb": float,
        "nodes": int,  # of a single run: its processes are nodes * tasks_per_node
        "tasks_per_node": int,
        "cpus_per_task": int,
        "gpus_per_node": int,  # divided among the tasks of a node
        "name": str,
        **{f"slurm_{name}": str for name in _SLURM},
        "slurm_signal_delay_s": int,  # seconds before the time limit at which a task has to save
        "slurm_setup": str,  # a shell command to run first
    },
    # Address of the cluster, "auto" for this machine; processes of a single run; CPUs (default 1)
    # and GPUs (0) of a process.
    "ray": {"address": str, "num_workers": int, "num_cpus": float, "num_gpus": float},
}
_COUNTS = ("nodes", "tasks_per_node", "num_workers")


class TaskError(Exception):
    """The error of a task in one line: "ValueError: ...", "exit code 3", "killed by signal 9"."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A function to call in another process.

    Attributes:
      function: at module level, so that the other process can import it.
      arguments: can be pickled.
      log: file that its output is appended to. Of several processes, that of the first one.
    """

    function: Callable[..., None]
    arguments: tuple[Any, ...]
    log: Path

    def log_of(self, process: int) -> Path:
        """The log of one of the processes that run this task together."""
        return self.log.with_stem(f"{self.log.stem}-{process}") if process else self.log


class Future(abc.ABC):
    """A submitted task, in the style of `concurrent.futures.Future`."""

    @abc.abstractmethod
    def done(self) -> bool:
        """Whether the task has ended."""

    @abc.abstractmethod
    def exception(self) -> TaskError | None:
        """The error of the task; waits for its end."""

    @abc.abstractmethod
    def cancel(self, *, kill: bool = False) -> None:
        """Asks the task to save and end, once however often it is called; with ``kill``, ends it at
        once."""

    def result(self) -> None:
        """Waits for the end of the task, and raises its error."""
        if error := self.exception():
            raise error


class Executor(contextlib.AbstractContextManager["Executor"]):
    """Submits tasks, in the style of `concurrent.futures.Executor`.

    Attributes:
      max_workers: maximum number of running tasks.
      poll: seconds between two calls of `Future.done`.
      running: submitted tasks, up to the end of each.
    """

    max_workers: int
    poll: float

    def __init__(self) -> None:
        self.running: dict[Future, Task] = {}

    @abc.abstractmethod
    def submit(self, tasks: Sequence[Task]) -> Sequence[Future]:
        """Starts tasks; SLURM gets all of them as one array."""

    def shutdown(self) -> None:
        """Asks the running tasks to save and end, and kills them after `GRACE` seconds."""
        count, deadline = len(self.running), time.monotonic() + GRACE
        if not count:
            return
        message = (
            f"stopping {words.count(count, 'task')}, which may save first; Ctrl-C again kills them"
        )
        print(message, file=sys.stderr)
        try:
            again = 0.0
            while time.monotonic() < deadline and not all(x.done() for x in self.running):
                if time.monotonic() >= again:  # repeated, as a busy Ray cluster may miss one
                    again = time.monotonic() + 1
                    for future in self.running:
                        future.cancel()
                time.sleep(min(self.poll, 0.2))
        finally:
            self.kill()

    def kill(self) -> None:
        """Kills the running tasks."""
        for future in self.running:
            if not future.done():
                future.cancel(kill=True)

    def __exit__(self, *_: object) -> None:
        self.shutdown()


def launch(
    tasks: Sequence[Task], *, kind: str, jobs: int, options: Mapping[str, str], quiet: bool = False
) -> Generator[tuple[Task, TaskError | None], None, None]:
    """Runs tasks; yields each as it ends, with its error or None.

    Similar to `concurrent.futures.as_completed`.

    With the launcher "local" and one job at a time, tasks print to the terminal; otherwise to their
    logs, and a progress bar counts them. Closing the iterator, SIGINT and SIGTERM stop the running
    tasks. If this process is killed, its tasks end too, except those of SLURM.

    Args:
      tasks: started in this order.
      kind: one of `OPTIONS`.
      jobs: maximum number of tasks at once.
      options: of the launcher, see `OPTIONS`.
      quiet: whether to show no progress bar.

    Raises:
      UserError: an option is invalid or a package is missing; during iteration: the cluster cannot
        be reached, or `Interrupted` on SIGTERM.
      KeyboardInterrupt: during iteration, on SIGINT, once everything has ended.
    """
    parsed = check(kind=kind, jobs=jobs, options=options)
    quiet = quiet or (kind == "local" and jobs == 1)
    return _as_completed(tasks, lambda: _executor(kind, jobs, parsed), quiet)


def run(task: Task, *, kind: str, options: Mapping[str, str]) -> None:
    """Runs a task in as many processes as the options of the launcher say, joined by
    `aejax.runtime.rendezvous.start`; prints what the first one writes to its log.

    Raises:
      UserError, KeyboardInterrupt: as `launch`; with the words of the first process, if it has said
        where it stopped.
      TaskError: the error of the task.
    """
    parsed = check(kind=kind, jobs=1, options=options, together=True)
    ended = _as_completed([task], lambda: _executor(kind, 1, parsed), quiet=True)
    errors: list[str] = []
    try:
        with _printing(task.log, errors), contextlib.closing(ended):
            for _, error in ended:
                if error:
                    raise error
    except (Interrupted, KeyboardInterrupt) as stopped:
        if not errors or stopping.stopped_by(signal.SIGTERM) in errors[-1]:
            raise
        raise Interrupted(errors[-1], getattr(stopped, "number", signal.SIGINT)) from None


def free_port() -> int:
    """A port of this machine that is not in use."""
    with socket.socket() as server:
        server.bind(("", 0))
        return int(server.getsockname()[1])


def count_processes(parsed: Mapping[str, Any]) -> int:
    """The number of processes of each task, by the parsed options of a launcher."""
    return math.prod(parsed.get(name, 1) for name in _COUNTS)


def first_error(errors: Sequence[str | None]) -> TaskError | None:
    """The error of a task, from those of its processes; of those that others cause, only if there
    are no others. "" is that of a process that leaves it to another to say."""
    said = [
        f"process {process}: {error.removeprefix(f'process {process}: ')}" if process else error
        for process, error in enumerate(errors)
        if error
    ]
    causes = [error for error in said if _CAUSED not in error]
    return TaskError("; ".join(causes or said)) if said else None


_CAUSED = "another process of this run has ended"  # see `aejax.runtime.processes.explain_loss`


def _executor(kind: str, jobs: int, parsed: Mapping[str, Any]) -> Executor:
    return importlib.import_module(f"aejax.launchers.{kind}").Executor(jobs, parsed)


@contextlib.contextmanager
def _printing(log: Path, errors: list[str]) -> Iterator[None]:
    """Prints the lines that are appended to a file during the block; adds errors to the list."""
    position, ended, last = log.stat().st_size if log.exists() else 0, threading.Event(), False

    def follow() -> None:
        nonlocal position, last
        while not last:
            last = ended.wait(_FOLLOW)
            with contextlib.suppress(OSError), log.open("rb") as file:
                file.seek(position)
                for line in file:
                    if not line.endswith(b"\n") and not last:
                        break
                    position += len(line)
                    text = line.decode(errors="replace")
                    if text.startswith(_ERROR):
                        errors.append(text.removeprefix(_ERROR).rstrip())
                    else:
                        sys.stdout.write(text)
                sys.stdout.flush()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


_FOLLOW = 0.3  # seconds
_ERROR = "error: "  # begins the line of an error


def _as_completed(
    tasks: Sequence[Task], start: Callable[[], Executor], quiet: bool
) -> Generator[tuple[Task, TaskError | None], None, None]:
    if not tasks:
        return
    executor, waiting = start(), collections.deque(tasks)
    with (
        stopping.graceful() as asked_to_stop,
        stopping.at_end(executor.kill),
        executor,
        bar(total=len(tasks), desc="finished", unit="task", disable=quiet) as finished,
    ):
        while waiting or executor.running:
            if number := asked_to_stop():
                if number == signal.SIGINT:
                    raise KeyboardInterrupt
                raise Interrupted("stopped by SIGTERM; the same command goes on", number)
            free = min(executor.max_workers - len(executor.running), len(waiting))
            if free:
                batch = [waiting.popleft() for _ in range(free)]
                executor.running |= zip(executor.submit(batch), batch, strict=True)
            ended = [future for future in executor.running if future.done()]
            for future in ended:
                finished.update()
                yield executor.running.pop(future), future.exception()
            if not ended:
                time.sleep(executor.poll)


def parse_options(text: str) -> dict[str, str]:
    """A dict of ``"KEY=VALUE ..."``.

    Raises:
      UserError: ``text`` is malformed.
    """
    options = {}
    try:
        pairs = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--launcher_options={text}: {error}") from None
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--launcher_options: {pair!r} is not KEY=VALUE")
        options[key] = value
    return options


def check(
    *, kind: str, jobs: int, options: Mapping[str, str], together: bool = False
) -> dict[str, Any]:
    """The parsed options of a launcher.

    Args:
      kind, jobs, options: see `launch`.
      together: whether a task may take several processes.

    Raises:
      UserError: `launch` cannot run with these arguments.
    """
    if kind not in OPTIONS:
        raise UserError(f"unknown launcher {kind!r}; there are {', '.join(OPTIONS)}")
    if jobs < 1:
        raise UserError(f"{jobs} jobs at once cannot do anything; give 1 or more")
    parsed = {name: _parse(kind, name, text) for name, text in options.items()}
    try:
        importlib.import_module("sys" if kind == "local" else kind)
    except ImportError:
        message = f"the launcher {kind} is not installed: pip install -e '.[{kind}]'"
        raise UserError(message) from None
    if not together and count_processes(parsed) > 1:
        several = " ".join(f"{name}={parsed[name]}" for name in _COUNTS if name in parsed)
        raise UserError(
            f"{several} is for a single run; of many, each takes one process: leave it out, and"
            " choose how many run at once by --jobs"
        )
    return parsed


def _parse(kind: str, name: str, text: str) -> Any:
    known = OPTIONS[kind]
    if name not in known:
        takes = ", ".join(known) or "none"
        raise UserError(f"the launcher {kind} has no option {name!r}; it takes {takes}")
    try:
        value = known[name](text)
    except ValueError:
        value = -1
    if known[name] is not str and not value >= (name in _COUNTS):
        expected = "a whole number" if known[name] is int else "a number"
        expected += " from 1" if name in _COUNTS else ""
        raise UserError(f"the launcher {kind} takes {expected} for {name}, not {text!r}")
    return value
