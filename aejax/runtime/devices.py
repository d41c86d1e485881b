"""Placement of arrays on all local devices: batches are split, all else is copied."""

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax.runtime.errors import UserError
from aejax.runtime.malloc import share_of_memory


class Devices:
    """The local devices as a mesh of one axis."""

    def __init__(self, batch_size: int):
        if jax.process_count() > 1:
            raise UserError(
                f"this is one of {jax.process_count()} JAX processes, but a run uses a single one;"
                " only reading (aejax.data.loader) can be shared"
            )
        devices = jax.local_devices()
        if batch_size % len(devices):
            raise UserError(
                f"config.train.batch_size={batch_size} must be a multiple of the"
                f" {len(devices)} devices here"
            )
        mesh = Mesh(np.asarray(devices), ("batch",))
        self.copied = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec("batch"))

    def device_put(self, batch: Any) -> dict[str, jax.Array]:
        """A host batch on the devices, split along its first axis, without the indices of lost
        clips."""
        keys = ("audio", "length", "clip", "start", "position", "noise", "speaker")
        placed = {key: batch[key] for key in keys if key in batch}
        return jax.device_put(placed, self._split)

    def copy(self, tree: Any) -> Any:
        """A pytree on every device."""
        return jax.device_put(tree, self.copied)

    def __str__(self) -> str:
        devices = jax.local_devices()
        kind = devices[0].device_kind
        versions = f"jax {jax.__version__}, Python {platform.python_version()}"
        return f"{len(devices)} x {kind} ({devices[0].platform}), {versions}"


def free_memory() -> int | None:
    """Free memory of the first local device, bytes; None if unknown."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        return None if limit is None else limit - stats.get("bytes_in_use", 0)
    free = [_system_free(), *_cgroups_left()]
    least = min((size for size in free if size is not None), default=None)
    return None if least is None else int(least * share_of_memory())


def _system_free() -> int | None:
    """Memory available without swapping, bytes; None if not on Linux."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(sizes[0]) * 1024 if sizes else None


def _cgroups_left() -> Iterator[int]:
    """Free memory of each control group with a limit that this process is in, bytes: of a
    container, of a SLURM job."""
    try:
        lines = Path(_OWN_GROUPS).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version = 1 if "memory" in controllers.split(",") else 2
        if version == 2 and controllers:
            continue
        root, limit, used = _CGROUPS[version]
        group = Path(root, path.lstrip("/"))
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):  # no such group, or no limit
                taken = int((folder / used).read_text()) - _reclaimable(folder)
                yield int((folder / limit).read_text()) - taken
            if folder == Path(root):
                break


_OWN_GROUPS = "/proc/self/cgroup"
# By version: the root of the groups, and the files of limit and use.
_CGROUPS = {
    1: ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    2: ("/sys/fs/cgroup", "memory.max", "memory.current"),
}


def _reclaimable(group: Path) -> int:
    """Reclaimable page cache of a control group, bytes."""
    lines = (group / "memory.stat").read_text().splitlines()
    names = (
        "inactive_file",
        "total_inactive_file",
    )  # version 2; version 1, which includes subgroups
    sizes = [int(line.split()[1]) for line in lines if line.split()[0] in names]
    return max(sizes, default=0)
