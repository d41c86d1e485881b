"""Laying arrays out over all local devices: batches are split, everything else is copied."""

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax.errors import UserError
from aejax.memory import share_of_memory


class Devices:
    """A mesh of one axis over the local devices."""

    def __init__(self, batch_size: int):
        if jax.process_count() > 1:
            raise UserError(
                f"this is one of {jax.process_count()} JAX processes, and a run is trained by one;"
                " what several can share is reading (aejax.data.loader)"
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

    def place(self, batch: Any) -> dict[str, jax.Array]:
        """A host batch on the devices, split along its first axis; what was lost stays behind."""
        keys = ("audio", "length", "clip", "start", "place", "noise", "speaker")
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
    """Bytes that the first local device has left; None where it does not say."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        found = device.memory_stats() or {}
        limit = found.get("bytes_limit")
        return None if limit is None else limit - found.get("bytes_in_use", 0)
    left = [_available(), *_cgroups_left()]
    least = min((size for size in left if size is not None), default=None)
    return None if least is None else int(least * share_of_memory())


def _available() -> int | None:
    """What Linux says could be had without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _cgroups_left() -> Iterator[int]:
    """What is left in each group of processes that this one is in and that has a limit: those of a
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
        for place in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):  # no such group here, or no limit
                taken = int((place / used).read_text()) - _kept_of_files(place)
                yield int((place / limit).read_text()) - taken
            if place == Path(root):
                break


_OWN_GROUPS = "/proc/self/cgroup"
# By version: where groups are, and the names of limit and use.
_CGROUPS = {
    1: ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    2: ("/sys/fs/cgroup", "memory.max", "memory.current"),
}


def _kept_of_files(group: Path) -> int:
    """What a group keeps of files that have not been read for long, and could be had."""
    lines = (group / "memory.stat").read_text().splitlines()
    names = ("inactive_file", "total_inactive_file")  # of version 2; of 1, with the groups below
    found = [int(line.split()[1]) for line in lines if line.split()[0] in names]
    return max(found, default=0)
