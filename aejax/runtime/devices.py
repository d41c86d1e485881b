"""Placement of arrays on devices: batches are sharded; all else is replicated, or sharded too."""

import contextlib
import functools
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
    """The devices of a run: all of them for the training step, and those of this process for the
    rest.

    Args:
      batch_size: rows of a global batch.
      devices: of all processes by default; those of another platform to compile ahead of time.
      shard: "data": the training state is replicated; "fsdp": its arrays are sharded.
    """

    def __init__(
        self, batch_size: int, devices: Sequence[jax.Device] | None = None, shard: str = "data"
    ):
        devices = jax.devices() if devices is None else devices
        if batch_size % len(devices):
            here = "here" if jax.process_count() == 1 else f"of {jax.process_count()} processes"
            raise UserError(
                f"config.train.batch_size={batch_size} must be a multiple of the"
                f" {len(devices)} devices {here}"
            )
        self._devices, self._shard = devices, shard
        self._all = Mesh(np.asarray(devices), ("batch",))
        own = [device for device in devices if device.process_index == jax.process_index()]
        self._own = Mesh(np.asarray(own or devices), ("batch",))
        self.copied = NamedSharding(self._own, PartitionSpec())

    def device_put(self, batch: Any) -> dict[str, jax.Array]:
        """A host batch sharded over this process's devices along its first axis, without the
        indices of lost clips."""
        return jax.device_put(_arrays(batch), NamedSharding(self._own, _ROWS))

    def put_global(self, batch: Any) -> dict[str, jax.Array]:
        """As `device_put`, of the rows of all processes, from this process's rows."""
        own = self.device_put(batch)
        if self._all == self._own:
            return own

        def joined(x: jax.Array) -> jax.Array:
            shape = (x.shape[0] * jax.process_count(), *x.shape[1:])
            parts = [shard.data for shard in x.addressable_shards]
            sharding = NamedSharding(self._all, _ROWS)
            return jax.make_array_from_single_device_arrays(shape, sharding, parts)

        return jax.tree.map(joined, own)

    def copy(self, tree: Any) -> Any:
        """A pytree replicated on each of this process's devices."""
        return jax.device_put(tree, self.copied)

    def of_state(self, tree: Any) -> Any:
        """The sharding of each array of a training state: replicated, or with "fsdp" along the
        largest axis that the devices divide."""

        def of(x: Any) -> NamedSharding:
            return NamedSharding(self._all, self._spec(x.shape))

        return jax.tree.map(of, tree)

    def _spec(self, shape: tuple[int, ...]) -> PartitionSpec:
        sizes = [size if size % len(self._devices) == 0 else 0 for size in shape]
        if self._shard == "data" or len(self._devices) == 1 or not any(sizes):
            return PartitionSpec()
        axis = int(np.argmax(sizes))
        return PartitionSpec(*[None] * axis, "batch")

    def put_state(self, tree: Any) -> Any:
        """A training state on all devices, from one that every process has."""

        def put(x: Any, sharding: NamedSharding) -> jax.Array:
            if self._all == self._own:
                return jax.device_put(x, sharding)
            host = np.asarray(x)
            return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

        return jax.tree.map(put, tree, self.of_state(tree))

    def local(self, tree: Any) -> Any:
        """Arrays of a training state on this process's devices, for what it computes on its own."""
        if self._all == self._own:
            return tree
        return jax.tree.map(lambda x: jax.device_put(whole(x), self.copied), tree)

    def lower(self, step: Callable[..., Any], state: Any, batch: Any) -> jax.stages.Lowered:
        """``step(state, batch)`` lowered for all devices; the compiled step takes donated states.

        Args:
          step: a pure function of a state and a batch to a state and metrics.
          state: a pytree of arrays or their shapes.
          batch: a global host batch, as for `device_put`.
        """
        of_state, everywhere = self.of_state(state), NamedSharding(self._all, PartitionSpec())
        rows = NamedSharding(self._all, _ROWS)
        shapes = (
            jax.tree.map(_shape, state, of_state),
            {key: _shape(value, rows) for key, value in _arrays(batch).items()},
        )
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(of_state, everywhere))
        with jax.sharding.use_abstract_mesh(self._all.abstract_mesh):
            return jitted.lower(*shapes)

    def describe_state(self, tree: Any) -> str:
        """The sharding of a training state and its bytes on a device; "" on a single device."""
        if len(self._devices) == 1:
            return ""
        specs = [(x.size * x.dtype.itemsize, self._spec(x.shape)) for x in jax.tree.leaves(tree)]
        own = sum(size // (len(self._devices) if "batch" in spec else 1) for size, spec in specs)
        how = "replicated" if self._shard == "data" else "sharded"
        return f"state: {how}, {own / 1e6:,.1f} MB on each of {len(self._devices)} devices"

    def __str__(self) -> str:
        kind = self._devices[0].device_kind
        versions = f"jax {jax.__version__}, Python {platform.python_version()}"
        processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
        return f"{len(self._devices)} x {kind} ({self._devices[0].platform}){processes}, {versions}"


_ROWS = PartitionSpec("batch")


def whole(x: jax.Array) -> np.ndarray:
    """All values of an array, also of one that is spread over processes."""
    if x.is_fully_addressable or x.is_fully_replicated:
        return np.asarray(x)
    return np.asarray(_replicate(x.sharding.mesh)(x))  # type: ignore[attr-defined]


@functools.cache
def _replicate(mesh: Mesh) -> Callable[[jax.Array], jax.Array]:
    """A compiled function that copies an array to all devices of a mesh."""
    return jax.jit(lambda x: x, out_shardings=NamedSharding(mesh, PartitionSpec()))


def _shape(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


# What a step takes of a batch; the rest is for the host.
_KEYS = ("audio", "length", "clip", "start", "position", "noise", "speaker")


def _arrays(batch: Any) -> dict[str, Any]:
    return {key: batch[key] for key in _KEYS if key in batch}


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
