"""Several JAX processes that work on one run: how they start, agree, and add up.

All run the same program. Process 0 is the main one: it alone prints and writes files. What several
devices compute together is in one compiled step; everything else a process computes on its own
devices, and sums of NumPy arrays are exchanged at the end.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from aejax.runtime import files, stopping, words
from aejax.runtime.errors import UserError, printable

Tree = TypeVar("Tree")

# Seconds that a coordinator has to answer, and that all processes have to start.
_ANSWER, _START = 30, 300
# Seconds without a sign of life after which a process is lost.
_HEARTBEAT = 30
# Seconds after an error of the run until the other processes end, and the main one.
_OTHERS_END, _MAIN_ENDS = 0.5, 1.0


@dataclasses.dataclass
class _Group:
    """This process's place among the processes of the run."""

    index: int = 0
    count: int = 1


_group = _Group()


def index() -> int:
    """The number of this process; 0 is the main one."""
    return _group.index


def count() -> int:
    """The number of processes."""
    return _group.count


def is_main() -> bool:
    """Whether this process prints and writes files."""
    return _group.index == 0


def start(coordinator: str | None, number: int | None, process: int | None) -> None:
    """Joins the processes of a run, if there are several; before JAX is used.

    Args:
      coordinator: ``HOST:PORT`` of process 0; None to find it from SLURM, Open MPI, Kubernetes or a
        TPU pod, if this process was started by one of them.
      number: of processes.
      process: number of this one, from 0.

    Raises:
      UserError: an argument is invalid or missing, or the coordinator does not answer.
    """
    import jax

    if coordinator is None and number is None and process is None:
        if not _in_cluster():
            return
    else:
        _check(coordinator, number, process)
    # SIGTERM is ours.
    jax.config.update("jax_enable_preemption_service", False)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if coordinator is not None and process:
        _wait_for(coordinator, process)
    if coordinator is not None and number is not None and number > 1 and not process:
        others = words.count(number - 1, "other process")
        print(f"waiting for {others} at {coordinator}", file=sys.stderr)
    late = threading.Timer(_START, _end_late, [coordinator])
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            coordinator,
            number,
            process,
            cluster_detection_method=_detection() if coordinator is None else "deactivate",
            initialization_timeout=2 * _START,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"JAX finds no cluster ({error}); give --coordinator") from None
    finally:
        late.cancel()
    sys.excepthook = _end_with_traceback
    join()


def join() -> None:
    """Takes this process's number from JAX, if `start` or the user's own program has initialised
    ``jax.distributed``. All but the main process print and write nothing from here on."""
    import jax

    if count() > 1 or not jax.distributed.is_initialized():
        return
    _group.index, _group.count = jax.process_index(), jax.process_count()
    if not is_main():
        from aejax.runtime import progress

        files.only_read()
        progress.silence()


def _check(coordinator: str | None, number: int | None, process: int | None) -> None:
    flags = {"--coordinator": coordinator, "--processes": number, "--process": process}
    missing = [name for name, value in flags.items() if value is None]
    if coordinator is None or number is None or process is None:
        raise UserError(f"{' and '.join(flags)} belong together; missing: {', '.join(missing)}")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator={printable(coordinator)} is not HOST:PORT")
    if not 0 <= process < number:
        raise UserError(f"--process={process} must be from 0 to --processes={number} minus 1")


def _in_cluster() -> bool:
    """Whether this process is one of several that a launcher known to JAX has started."""
    environment = os.environ
    if "SLURM_STEP_NODELIST" in environment:
        return environment.get("SLURM_NTASKS", "1") != "1"
    if "OMPI_COMM_WORLD_SIZE" in environment:
        return environment["OMPI_COMM_WORLD_SIZE"] != "1"
    if "KUBERNETES_SERVICE_HOST" in environment:
        return "JOB_COMPLETION_INDEX" in environment
    chips = (*Path("/dev").glob("accel*"), *Path("/dev/vfio").glob("[0-9]*"))
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def _detection() -> str | None:
    """JAX's method of finding the cluster by a library, or None: by the environment."""
    environment = os.environ
    if {"SLURM_STEP_NODELIST", "OMPI_MCA_orte_hnp_uri"} & set(environment):
        return None
    if "OMPI_COMM_WORLD_SIZE" in environment:
        launcher, library, method = "Open MPI 5", "mpi4py", "mpi4py"
    elif "KUBERNETES_SERVICE_HOST" in environment:
        launcher, library, method = "Kubernetes", "kubernetes", None
    else:
        return None
    if importlib.util.find_spec(library) is None:
        raise UserError(
            f"{launcher} tells processes of each other by a library: pip install {library}, or give"
            " --coordinator=HOST:PORT --processes=N --process=I"
        )
    return method


def _wait_for(coordinator: str, process: int) -> None:
    host, _, port = coordinator.rpartition(":")
    end = time.monotonic() + _ANSWER
    while time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host.strip("[]"), int(port)), 2),
        ):
            return
        time.sleep(0.2)
    raise UserError(
        f"process {process}: no coordinator answers at {printable(coordinator)} within {_ANSWER} s;"
        " start process 0 there with the same command"
    )


def _end_with_traceback(*error: Any) -> NoReturn:
    """Prints an error and ends at once: JAX would wait for the other processes."""
    traceback.print_exception(*error)
    stopping.end(1)


def _end_late(coordinator: str | None) -> NoReturn:
    name = coordinator or "the coordinator"
    stopping.end(
        1, f"error: not all processes have joined {name} within {_START} s; look at their logs\n"
    )


def gather(content: bytes) -> list[bytes]:
    """The bytes of every process, in their order."""
    if count() == 1:
        return [content]
    lengths = [int(row[0]) for row in _gathered(np.asarray([len(content)], np.int32))]
    padded = np.zeros(max(lengths), np.uint8)
    padded[: len(content)] = np.frombuffer(content, np.uint8)
    rows = _gathered(padded)
    return [row[:length].tobytes() for row, length in zip(rows, lengths, strict=True)]


def _gathered(array: np.ndarray) -> np.ndarray:
    from jax.experimental import multihost_utils

    with explain_loss():
        return np.asarray(multihost_utils.process_allgather(array))


@contextlib.contextmanager
def explain_loss() -> Iterator[None]:
    """Turns errors of communication into one about a lost process.

    Raises:
      UserError: another process has ended.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if count() == 1 or not any(word in str(error) for word in _COMMUNICATION):
            raise
        raise UserError(
            f"process {index()}: another process of this run has ended; its output says why. Run"
            " the same command to resume"
        ) from None


_COMMUNICATION = ("Gloo", "gloo", "NCCL", "Connection", "UNAVAILABLE", "coordination service")


def wait() -> None:
    """Waits for all processes."""
    gather(b"")


def agree(value: Any) -> Any:
    """The main process's value, of JSON, in all processes."""
    return value if count() == 1 else json.loads(gather(json.dumps(value).encode())[0])


def gather_tree(tree: Tree) -> list[Tree]:
    """A pytree of NumPy arrays of the same shapes from every process, in their order."""
    import jax

    if count() == 1:
        return [tree]
    leaves, structure = jax.tree.flatten(tree)
    arrays = [np.asarray(leaf) for leaf in leaves]
    starts = np.cumsum([0, *(array.nbytes for array in arrays)])

    def parsed(row: bytes) -> Tree:
        parts = (
            np.frombuffer(row[start : start + array.nbytes], array.dtype).reshape(array.shape)
            for array, start in zip(arrays, starts.tolist(), strict=False)
        )
        return jax.tree.unflatten(structure, [part.copy() for part in parts])

    return [parsed(row) for row in gather(b"".join(array.tobytes() for array in arrays))]


def total(tree: Tree) -> Tree:
    """The sum over processes of each array of a pytree, in its own precision."""
    import jax

    return functools.reduce(lambda a, b: jax.tree.map(np.add, a, b), gather_tree(tree))


def concatenate(array: np.ndarray) -> np.ndarray:
    """The rows of all processes, in their order."""
    rows = gather(np.ascontiguousarray(array).tobytes())
    return np.concatenate(
        [np.frombuffer(row, array.dtype).reshape(-1, *array.shape[1:]) for row in rows]
    )


def any_of(asked: Callable[[], int | None]) -> Callable[[int], int | None]:
    """A function of the step that returns the signal that any process has received, or None.

    The processes ask each other about once a second, all after the same step.

    Args:
      asked: returns the signal that this process has received, or None.
    """
    if count() == 1:
        return lambda step: asked()
    following, every, since, number = 0, 1, time.monotonic(), 0

    def check(step: int) -> int | None:
        nonlocal following, every, since, number
        if step >= following and not number:
            elapsed = max(time.monotonic() - since, 1e-3)
            wish = max(1, min(2 * every, int(every * _EVERY / elapsed)))
            rows = [json.loads(row) for row in gather(json.dumps([asked() or 0, wish]).encode())]
            number = max(row[0] for row in rows)
            every = rows[0][1]
            following, since = step + every, time.monotonic()
        return number or None

    return check


_EVERY = 1.0  # seconds between two questions


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A block without communication in which a process may fail: then all fail, and the main one
    says why.

    Raises:
      UserError: a process has failed.
    """
    with _collected() as failures:
        yield
    _raise_alike(failures)


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """A block without communication that the main process runs before the others, which can read
    what it wrote.

    Raises:
      UserError: a process has failed.
    """
    if not is_main():
        _raise_alike([])
    with _collected() as failures:
        yield
    if is_main():
        _raise_alike(failures)
    _raise_alike([] if is_main() else failures)


@contextlib.contextmanager
def _collected() -> Iterator[list[UserError]]:
    """The error of the block, which does not leave it, if there are other processes to tell."""
    failures: list[UserError] = []
    try:
        yield failures
    except UserError as error:
        if count() == 1:
            raise
        failures.append(error)


def _raise_alike(failures: list[UserError]) -> None:
    """Raises the first failure of any process in all of them."""
    if count() == 1:
        return
    own = "".join(map(str, failures)).encode()
    messages = [row.decode(errors="replace") for row in gather(own)]
    process = next((number for number, message in enumerate(messages) if message), None)
    if process is None:
        return
    if not is_main():
        raise UserError("")
    prefix = f"process {process}: " if process else ""
    raise UserError(prefix + messages[process].removeprefix(prefix))


def check_alike(values: dict[str, str]) -> None:
    """Checks that all processes have the same values, by name.

    Raises:
      UserError: a process has another value.
    """
    main = agree(values)
    with together():
        for name, value in values.items():
            if value != main[name]:
                ours, theirs = _difference(value, main[name])
                raise UserError(
                    f"{name} differs from that of process 0 ({printable(ours)}, not"
                    f" {printable(theirs)}); start all with the same command and version"
                )


def _difference(ours: str, theirs: str) -> tuple[str, str]:
    """The first lines that differ."""
    lines = zip(ours.splitlines(), theirs.splitlines(), strict=False)
    return next(((a.strip(" ,"), b.strip(" ,")) for a, b in lines if a != b), ("more", "less"))


def leave(code: int) -> NoReturn:
    """Exits with a code; if that is an error, without JAX, which would wait for the others."""
    if code and count() > 1:
        # The main process prints first, since mpirun kills it when another ends; it ends last,
        # since the others would report its end.
        time.sleep(_MAIN_ENDS if is_main() else _OTHERS_END)
        stopping.end(code)
    stopping.leave(code)
