"""How the processes of a run find each other, before JAX is used."""

import contextlib
import importlib.util
import os
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from aejax.runtime import processes, stopping, words
from aejax.runtime.errors import UserError, printable

# Seconds that a coordinator has to answer, and that all processes have to start.
_ANSWER, _START = 30, 300
# Seconds without a sign of life after which a process is lost.
_HEARTBEAT = 30


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

    launcher = _launcher()
    if coordinator is None and number is None and process is None:
        if launcher is None and not _has_chips():
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
            cluster_detection_method=_detection(launcher) if coordinator is None else "deactivate",
            initialization_timeout=2 * _START,
            heartbeat_timeout_seconds=_HEARTBEAT,
        )
    except (RuntimeError, ValueError) as error:
        if coordinator is None and launcher is None and isinstance(error, ValueError):
            return  # chips that are of no TPU pod
        raise UserError(f"JAX finds no cluster ({error}); give --coordinator") from None
    finally:
        late.cancel()
    sys.excepthook = _end_with_traceback
    processes.join()


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


def _launcher() -> str | None:
    """What has started this process as one of several: a launcher that JAX knows, or None."""
    environment = os.environ
    if "SLURM_STEP_NODELIST" in environment:
        return "SLURM" if environment.get("SLURM_NTASKS", "1") != "1" else None
    if "OMPI_COMM_WORLD_SIZE" in environment:
        if environment["OMPI_COMM_WORLD_SIZE"] == "1":
            return None
        return "Open MPI 4" if "OMPI_MCA_orte_hnp_uri" in environment else "Open MPI 5"
    is_job = {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= set(environment)
    return "Kubernetes" if is_job else None


def _has_chips() -> bool:
    """Whether this may be a machine of a TPU pod."""
    chips = (*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*"))
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


# The library that a launcher's processes find each other by, and JAX's name of that method.
_LIBRARIES = {"Open MPI 5": ("mpi4py", "mpi4py"), "Kubernetes": ("kubernetes", None)}


def _detection(launcher: str | None) -> str | None:
    """JAX's method of finding the cluster, or None: by the environment."""
    if launcher not in _LIBRARIES:
        return None
    library, method = _LIBRARIES[launcher]
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
