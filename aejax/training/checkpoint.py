"""Checkpoints by Orbax, whole or not at all."""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.struct
import jax
from jax.sharding import Sharding
from orbax.checkpoint import v1 as ocp

from aejax.runtime import files


@flax.struct.dataclass
class Best:
    """The best that one kind of variables has been up to now.

    Attributes:
      variables: those of the lowest validation loss, which are the ones evaluated.
      loss: that loss, float32 ``[]``.
      step: steps done then, int32 ``[]``.
    """

    variables: Any
    loss: Any
    step: Any


@flax.struct.dataclass
class Snapshot:
    """All that a run needs to go on: the state, and the best variables up to now.

    The loader's position is ``state.step``.

    Attributes:
      state: `TrainState` after its last step.
      best: `Best` of each of the state's candidates, by name.
    """

    state: Any
    best: Any


class Checkpoints:
    """The last few snapshots of a run, in ``directory``."""

    def __init__(self, directory: Path, keep: int = 2):
        # Orbax logs the traceback of what it raises.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self._directory = directory
        self._checkpointer = ocp.training.Checkpointer(
            directory.absolute(),
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=ocp.training.preservation_policies.LatestN(keep),
            cleanup_tmp_directories=True,
        )

    @property
    def latest_step(self) -> int | None:
        """Steps done in the newest snapshot, or None where there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def save(self, snapshot: Snapshot) -> None:
        """Writes a snapshot, unless that step is there already."""
        step = int(snapshot.state.step)
        if step != self.latest_step:
            with files.room_for(self._directory):
                self._checkpointer.save(step, _as_tree(snapshot), force=True)

    def restore(self, like: Snapshot, sharding: Sharding) -> Snapshot:
        """The newest snapshot, in the shapes of ``like``, laid out by ``sharding``.

        ``like`` may be abstract, from ``jax.eval_shape``. What was saved on another number of
        devices comes back too, since ``sharding`` decides.
        """
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), _as_tree(like)
        )
        leaves = self._checkpointer.load(self.latest_step, abstract)
        return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(leaves))

    def close(self) -> None:
        """Waits for what is being written."""
        with files.room_for(self._directory):
            self._checkpointer.close()


def read(directory: Path, step: int, like: Snapshot, sharding: Sharding) -> Snapshot:
    """A snapshot of a run that has ended; nothing in the directory changes. See
    `Checkpoints.restore`."""
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), _as_tree(like)
    )
    leaves = ocp.load(directory.absolute() / str(step), abstract)
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(leaves))


def steps(directory: Path) -> set[int]:
    """Steps done in the snapshots there."""
    if not directory.is_dir():
        return set()
    return {int(path.name) for path in directory.iterdir() if path.name.isdecimal()}


@contextlib.contextmanager
def opened(directory: Path, after: int | None = None) -> Iterator[Checkpoints]:
    """`Checkpoints`, closed at the end; snapshots of later steps than ``after``, if given, are
    deleted."""
    for step in steps(directory):
        if after is not None and step > after:
            # Under a name that Orbax passes over, should this be killed half-way.
            gone = (directory / str(step)).rename(directory / f"{step}.orbax-checkpoint-tmp")
            shutil.rmtree(gone)
    checkpoints = Checkpoints(directory)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


def _as_tree(snapshot: Snapshot) -> dict[str, Any]:
    """A flat dict of leaves: the files hold arrays under plain names, and no types of ours."""
    leaves = jax.tree_util.tree_flatten_with_path(snapshot)[0]
    # Numbered, so that the names sort in the order of the leaves.
    return {
        f"{index:04d}{jax.tree_util.keystr(path, simple=True, separator='.')}": leaf
        for index, (path, leaf) in enumerate(leaves)
    }
