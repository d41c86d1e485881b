"""Laying arrays out over all local devices: batches are split, everything else is copied."""

import platform
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
