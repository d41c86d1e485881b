"""Laying arrays out over all local devices: batches are split, everything else is copied."""

import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aejax.errors import UserError


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
        """A host batch on the devices, split along its first axis; names of clips stay behind."""
        keys = ("audio", "length", "place", "noise")
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
    left = [_available(), _cgroup_left()]
    return min((size for size in left if size is not None), default=None)


def _available() -> int | None:
    """What Linux says could be had without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _cgroup_left() -> int | None:
    """What a container has left; what it keeps of files could be had too, and is left out."""
    root = Path("/sys/fs/cgroup")
    try:
        limit, used = ((root / name).read_text() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    return int(limit) - int(used) if limit.strip().isdecimal() else None
