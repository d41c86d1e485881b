"""Checkpoints by Orbax, whole or not at all, with a SHA-256 of every array.

The checksums are part of the metadata that Orbax writes into a checkpoint before it gives it its
name, so that there is no checkpoint without them. All of them are compared whenever one is read.
"""

import collections
import contextlib
import hashlib
import json
import logging
import math
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import tensorstore
from jax.sharding import Sharding
from orbax.checkpoint import v1 as ocp

from aejax.runtime import files
from aejax.runtime.errors import UserError, printable
from aejax.runtime.pytrees import Leaf, Tree
from aejax.training.state import TrainState

_ASIDE = ".damaged"  # behind the step in the name of a checkpoint that was set aside
# Orbax's folder of arrays, and how many of them are read at a time.
_ARRAYS, _THREADS = "state", 4
_METADATA = "_CHECKPOINT_METADATA"  # Orbax's file; what is ours in it is "custom_metadata"
_MOST_METADATA = 16 << 20


class DamagedCheckpoint(UserError):
    """A checkpoint that is not what was saved."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path} is damaged ({printable(reason)})")


@flax.struct.dataclass
class Best:
    """The best variables so far, of one kind: raw or averaged.

    Attributes:
      variables: of the lowest validation loss; they are evaluated in the end.
      loss: that loss, float32 ``[]``.
      step: steps done then, int32 ``[]``.
    """

    variables: Tree
    loss: Leaf
    step: Leaf

    def as_json(self) -> dict[str, Any]:
        """Its entry in ``results.json``."""
        return {"step": int(self.step), "validation_loss": float(self.loss)}


@flax.struct.dataclass
class Snapshot:
    """All that a run needs to resume: the state, and the best variables so far.

    The loader's position is ``state.step``.

    Attributes:
      state: after its last step.
      best: of each of the state's candidates, by name.
    """

    state: TrainState
    best: dict[str, Best]


def snapshot_of(state: TrainState) -> Snapshot:
    """The snapshot of an initial state: its own variables are the best so far."""
    return Snapshot(
        state,
        {
            # A copy: the step donates its state, and the best variables must outlive it.
            name: Best(jax.tree.map(jnp.copy, variables), jnp.float32(jnp.inf), jnp.int32(0))
            for name, variables in state.candidates.items()
        },
    )


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

    def save(self, snapshot: Snapshot) -> None:
        """Writes a snapshot, unless that step is saved already."""
        step = int(snapshot.state.step)
        if step not in steps(self._directory):
            tree = _as_tree(snapshot)
            facts = {name: _facts(np.asarray(jax.device_get(leaf))) for name, leaf in tree.items()}
            about = _described(step, facts)
            with files.explain_full_disk(self._directory):
                self._checkpointer.save(step, tree, force=True, custom_metadata=about)

    def close(self) -> None:
        """Waits until everything is written."""
        with files.explain_full_disk(self._directory):
            self._checkpointer.close()


def read(directory: Path, step: int, like: Snapshot, sharding: Sharding) -> Snapshot:
    """A saved snapshot; nothing on disk changes.

    Args:
      directory: of the checkpoints.
      step: to read.
      like: a snapshot of the same shapes, or its shapes from ``jax.eval_shape``.
      sharding: of the arrays, whatever the number of devices that saved them.

    Raises:
      DamagedCheckpoint: it is not what was saved.
      UserError: it is of another version of aejax, or may not be read.
    """
    path = directory / str(step)
    facts, tree = _saved_facts(path), _as_tree(like)
    ours = {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in tree.items()}
    if ours != {name: fact[:2] for name, fact in facts.items()}:
        raise UserError(f"{path} is of another version of aejax; use that, or train the run again")
    leaves = {name: jax.device_put(leaf, sharding) for name, leaf in _verified(path, facts)}
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in tree])


def set_damaged_aside(directory: Path) -> list[str]:
    """Verifies the checksums of a run's snapshots and renames damaged ones, so that the run resumes
    from the newest intact one.

    Returns:
      A line for the user about each damaged snapshot.

    Raises:
      UserError: all are damaged; or one is of another version of aejax, or cannot be read.
    """
    intact, problems = -1, dict[int, DamagedCheckpoint]()
    for step in sorted(steps(directory)):
        path = directory / str(step)
        try:
            collections.deque(_verified(path, _saved_facts(path)), maxlen=0)
            intact = step
        except DamagedCheckpoint as error:
            problems[step] = error
    if problems and intact < 0:
        raise UserError(
            f"{problems[max(problems)]}, and there is no other to resume from; delete {directory},"
            " and the same command trains anew"
        )
    lines = []
    for step, problem in problems.items():
        aside = directory / f"{step}{_ASIDE}"
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        (directory / str(step)).rename(aside)
        lines.append(f"{problem} and is called {aside.name} now; going on from step {intact}")
    return lines


def steps(directory: Path) -> set[int]:
    """Steps of the snapshots in a directory, intact or not."""
    if not directory.is_dir():
        return set()
    names = {path.name for path in directory.iterdir() if path.name.isdecimal()}
    return {int(name) for name in names if str(int(name)) == name}


@contextlib.contextmanager
def opened(directory: Path, after: int | None = None) -> Iterator[Checkpoints]:
    """`Checkpoints`, closed at the end. Snapshots of steps after ``after`` are deleted first."""
    for step in steps(directory):
        if after is not None and step > after:
            # Renamed first, to what Orbax ignores: a kill may leave half of it.
            doomed = (directory / str(step)).rename(directory / f"{step}.orbax-checkpoint-tmp")
            shutil.rmtree(doomed)
    checkpoints = Checkpoints(directory)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


# Of each array by name: its dtype, its shape, and the SHA-256 of its bytes.
_Facts = dict[str, list[Any]]


def _facts(array: np.ndarray) -> list[Any]:
    return [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]


def _described(step: int, facts: _Facts) -> dict[str, Any]:
    """The metadata that is saved: the facts, with a checksum of them."""
    about = {"step": step, "arrays": facts}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return about | {"sha256": digest}


def _saved_facts(path: Path) -> _Facts:
    """The facts that a checkpoint was saved with.

    Raises:
      DamagedCheckpoint: they are not as they were saved.
      UserError: an earlier version of aejax saved none, or the files cannot be read.
    """
    size = _size(path)
    try:
        about = files.read_json(path / _METADATA, _MOST_METADATA)["custom_metadata"]
        earlier = about == {}
        facts = {} if earlier else about["arrays"]
        bytes_of = [
            math.prod(shape) * jnp.dtype(kind).itemsize for kind, shape, _ in facts.values()
        ]
        good = earlier or (
            about == _described(int(path.name), facts) and _plausible(size, sum(bytes_of))
        )
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        earlier = good = False
    if earlier:
        raise UserError(
            f"{path} has no checksums: an earlier version of aejax saved it. Use that version, or"
            " train the run again in another directory"
        )
    if not good:
        raise DamagedCheckpoint(path, f"no {_METADATA} that was saved with it")
    return facts


def _plausible(file_bytes: int, array_bytes: int) -> bool:
    """Whether files of that size can hold the arrays: Orbax adds little, and only zeros are
    compressed to much less."""
    most_files = 4 * array_bytes + _MOST_METADATA
    return file_bytes < most_files and array_bytes < 64 * file_bytes + _MOST_METADATA


def _size(path: Path) -> int:
    """Bytes of all files in a folder, which must be readable regular files and folders.

    Raises:
      DamagedCheckpoint: it contains something else.
      UserError: one cannot be read.
    """
    total, pending = 0, [path]
    try:
        while pending:
            now = pending.pop()
            status = now.lstat()
            if stat.S_ISDIR(status.st_mode):
                pending += now.iterdir()
            elif not stat.S_ISREG(status.st_mode) or now == path:
                what = "it is no folder" if now == path else f"{now.name} is no regular file"
                raise DamagedCheckpoint(path, what)
            else:
                now.open("rb").close()
                total += status.st_size
    except FileNotFoundError:
        raise DamagedCheckpoint(path, "it is missing") from None
    except OSError as error:
        raise UserError(f"{now} cannot be read ({error.strerror})") from None
    return total


def _verified(path: Path, facts: _Facts) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a checkpoint, by name, each compared with its checksum.

    TensorStore reads them, in whose format Orbax writes: for damaged files Orbax itself prints
    tracebacks from tasks that it does not wait for.

    Raises:
      DamagedCheckpoint: one is not as it was saved.
    """
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": _MOST_METADATA}})

    def verified(name: str) -> np.ndarray:
        base = {"driver": "file", "path": f"{path.absolute()}/{_ARRAYS}/"}
        spec = {"driver": "zarr3", "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"}}
        store = tensorstore.open(spec, context=context, open=True, read=True).result()
        # Before anything is read, as this decides how much memory that takes.
        if [store.dtype.name, list(store.shape)] != facts[name][:2]:
            raise ValueError("its shape or type has changed")
        array = store.read().result()
        if _facts(array) != facts[name]:
            raise ValueError("its checksum does not match")
        return array

    with ThreadPoolExecutor(_THREADS) as threads:
        futures = {name: threads.submit(verified, name) for name in facts}
        for name, future in futures.items():
            try:
                yield name, future.result()
            except ValueError as error:  # TensorStore's own too, some of which are long
                text = " ".join(str(error).split())[:80]
                raise DamagedCheckpoint(path, f"{name[4:]}: {text}") from None


def _as_tree(snapshot: Snapshot) -> dict[str, Any]:
    """The leaves by name, so that the files hold named arrays and none of our types."""
    leaves = jax.tree_util.tree_flatten_with_path(snapshot)[0]
    # Numbered, so that the names sort in the order of the leaves.
    return {
        f"{index:04d}{jax.tree_util.keystr(path, simple=True, separator='.')}": leaf
        for index, (path, leaf) in enumerate(leaves)
    }
