"""Placement of arrays on all local devices: batches are sharded, all else is replicated."""

import contextlib
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax.runtime.errors import UserError
from aejax.runtime.malloc import share_of_memory


class Devices:
    """Devices as a mesh of one axis.

    Args:
      batch_size: rows of a global batch.
      devices: all local devices by default; those of another platform to compile ahead of time.
    """

    def __init__(self, batch_size: int, devices: Sequence[jax.Device] | None = None):
        if jax.process_count() > 1:
            raise UserError(
                f"this is one of {jax.process_count()} JAX processes, but a run uses a single one;"
                " only aejax.data.loader supports several"
            )
        devices = jax.local_devices() if devices is None else devices
        if batch_size % len(devices):
            raise UserError(
                f"config.train.batch_size={batch_size} must be a multiple of the"
                f" {len(devices)} devices here"
            )
        mesh = Mesh(np.asarray(devices), ("batch",))
        self.copied = NamedSharding(mesh, PartitionSpec())
        self._sharded = NamedSharding(mesh, PartitionSpec("batch"))

    def device_put(self, batch: Any) -> dict[str, jax.Array]:
        """A host batch sharded over the devices along its first axis, without the indices of lost
        clips."""
        return jax.device_put(_arrays(batch), self._sharded)

    def copy(self, tree: Any) -> Any:
        """A pytree replicated on every device."""
        return jax.device_put(tree, self.copied)

    def lower(self, step: Callable[..., Any], state: Any, batch: Any) -> jax.stages.Lowered:
        """``step(state, batch)`` lowered for these devices; the compiled step takes donated states.

        Args:
          step: a pure function; all that it returns is replicated.
          state: a pytree of arrays or their shapes, to be replicated.
          batch: a host batch, as for `device_put`.
        """
        shapes = (_shapes(state, self.copied), _shapes(_arrays(batch), self._sharded))
        return jax.jit(step, donate_argnums=0, out_shardings=self.copied).lower(*shapes)

    def __str__(self) -> str:
        devices = jax.local_devices()
        kind = devices[0].device_kind
        versions = f"jax {jax.__version__}, Python {platform.python_version()}"
        return f"{len(devices)} x {kind} ({devices[0].platform}), {versions}"


# What a step takes of a batch; the rest is for the host.
_KEYS = ("audio", "length", "clip", "start", "position", "noise", "speaker")


def _arrays(batch: Any) -> dict[str, Any]:
    return {key: batch[key] for key in _KEYS if key in batch}


def _shapes(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def free_memory() -> int | None:
    """Free memory of the first local device, bytes; None if unknown."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        return None if limit is None else limit - stats.get("bytes_in_use", 0)
    least = min([*_system_free(), *_cgroups_left()], default=None)
    return None if least is None else int(least * share_of_memory())


def _system_free() -> Iterator[int]:
    """Memory available without swapping, bytes; empty on systems other than Linux."""
    with contextlib.suppress(OSError, KeyError):
        yield _sizes(Path("/proc/meminfo"))["MemAvailable:"] * 1024


_OWN_GROUPS = "/proc/self/cgroup"
# By version: the root of the groups, the files of limit and use, and the name of the reclaimable
# page cache of a group and its subgroups.
_CGROUPS = {
    1: (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
    2: ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
}


def _cgroups_left() -> Iterator[int]:
    """Free memory, in bytes, of each control group of this process that has a limit.

    In a container or a SLURM job the system's available memory is that of the whole machine.
    """
    try:
        lines = Path(_OWN_GROUPS).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, limit, used, cache = _CGROUPS[1 if controllers else 2]
        group = Path(root, path.lstrip("/"))
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):  # no such group, or no limit
                taken = int((folder / used).read_text())
                taken -= _sizes(folder / "memory.stat").get(cache, 0)
                yield int((folder / limit).read_text()) - taken


def _sizes(path: Path) -> dict[str, int]:
    """The numbers in a file of the kernel, by name."""
    lines = map(str.split, path.read_text().splitlines())
    return {line[0]: int(line[1]) for line in lines}
