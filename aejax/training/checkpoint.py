"""Atomic checkpoints by Orbax, with a SHA-256 of every array.

Checksums are in the metadata that Orbax writes before it renames a checkpoint to its final name, so
every checkpoint has them. They are verified whenever a checkpoint is read.
"""

import collections
import contextlib
import hashlib
import json
import logging
import math
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import tensorstore
from orbax.checkpoint import v1 as ocp

from aejax.runtime import files, processes
from aejax.runtime.devices import whole
from aejax.runtime.errors import UserError, printable
from aejax.runtime.pytrees import Leaf, Tree
from aejax.training.state import TrainState

_ASIDE = ".damaged"  # suffix of renamed damaged checkpoints
# Orbax's folder of arrays, and the number of threads that read them.
_ARRAYS, _THREADS = "state", 4
_RETAINED = 2  # checkpoints
_METADATA = "_CHECKPOINT_METADATA"  # Orbax's file; aejax's entry is "custom_metadata"
_MOST_METADATA = 16 << 20


class DamagedCheckpoint(UserError):
    """A checkpoint whose content has changed since it was saved."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path} is damaged ({printable(reason)})")


@flax.struct.dataclass
class Best:
    """The best variables so far, raw or averaged.

    Attributes:
      variables: variables with the lowest validation loss, for the final evaluation.
      loss: their validation loss, float32 ``[]``.
      step: their step, int32 ``[]``.
    """

    variables: Tree
    loss: Leaf
    step: Leaf

    def as_json(self) -> dict[str, Any]:
        """Step and loss for ``results.json``."""
        return {"step": int(self.step), "validation_loss": float(self.loss)}


@flax.struct.dataclass
class Snapshot:
    """Everything a run needs to resume; the position of the loader is ``state.step``.

    Attributes:
      state: state after the last step.
      best: best variables so far, for each of the state's candidates by name.
    """

    state: TrainState
    best: dict[str, Best]


def snapshot_of(state: TrainState) -> Snapshot:
    """The snapshot of an initial state: its own variables are the best so far."""
    return Snapshot(
        state,
        {
            # A copy, since the state is donated to the step.
            name: Best(jax.tree.map(jnp.copy, variables), jnp.float32(jnp.inf), jnp.int32(0))
            for name, variables in state.candidates.items()
        },
    )


class Checkpoints:
    """The last two snapshots of a run, in ``directory``."""

    def __init__(self, directory: Path):
        # Orbax logs tracebacks of errors that it raises.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self._directory = directory
        self._checkpointer = ocp.training.Checkpointer(
            directory.absolute(),
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=ocp.training.preservation_policies.LatestN(_RETAINED),
            cleanup_tmp_directories=True,
        )

    def save(self, snapshot: Snapshot) -> None:
        """Writes a snapshot, unless that step is saved already."""
        step = int(snapshot.state.step)
        if processes.agree(step not in steps(self._directory)):
            tree = _as_tree(snapshot)
            facts = {name: _facts(whole(leaf)) for name, leaf in tree.items()}
            metadata = _metadata(step, facts)
            with files.explain_full_disk(self._directory):
                self._checkpointer.save(step, tree, force=True, custom_metadata=metadata)

    def close(self) -> None:
        """Waits until everything is written."""
        with files.explain_full_disk(self._directory):
            self._checkpointer.close()


def read(
    directory: Path, step: int, like: Snapshot, put: Callable[[np.ndarray], Any] = np.asarray
) -> Snapshot:
    """Reads a snapshot and verifies its checksums.

    Args:
      directory: directory of the checkpoints.
      step: step of the snapshot.
      like: a snapshot of the same shapes, or its shapes from ``jax.eval_shape``.
      put: called with each array.

    Raises:
      DamagedCheckpoint: it has changed since it was saved.
      UserError: it is from another version of aejax, or not readable.
    """
    path = directory / str(step)
    facts, tree = _saved_facts(path), _as_tree(like)
    ours = {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in tree.items()}
    if ours != {name: fact[:2] for name, fact in facts.items()}:
        raise UserError(
            f"{path} is from another version of aejax; use that version, or train the run again"
        )
    leaves = {name: put(leaf) for name, leaf in _verified(path, facts)}
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in tree])


def set_damaged_aside(directory: Path) -> list[str]:
    """Renames damaged snapshots of a run, so that it resumes from the newest intact one.

    Returns:
      A message about each damaged snapshot.

    Raises:
      UserError: all are damaged; or one is from another version of aejax, or not readable.
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
            f"{problems[max(problems)]}, and there is no other to resume from; delete {directory}"
            " and run the same command to train from the start"
        )
    lines = []
    for step, problem in problems.items():
        aside = directory / f"{step}{_ASIDE}"
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        (directory / str(step)).rename(aside)
        lines.append(f"{problem} and was renamed to {aside.name}; resuming from step {intact}")
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
    with processes.main_first():
        for step in steps(directory) if processes.is_main() else ():
            if after is not None and step > after:
                # Renamed first to a name that Orbax ignores: a kill may leave half of the files.
                doomed = (directory / str(step)).rename(directory / f"{step}.orbax-checkpoint-tmp")
                shutil.rmtree(doomed)
    checkpoints = Checkpoints(directory)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


# Dtype, shape and SHA-256 of each array, by name.
_Facts = dict[str, list[Any]]


def _facts(array: np.ndarray) -> list[Any]:
    return [str(array.dtype), list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]


def _metadata(step: int, facts: _Facts) -> dict[str, Any]:
    """The metadata to save: facts of the arrays, and a checksum of the metadata itself."""
    about = {"step": step, "arrays": facts}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return about | {"sha256": digest}


def _saved_facts(path: Path) -> _Facts:
    """The facts in a checkpoint's metadata.

    Raises:
      DamagedCheckpoint: the metadata has changed since it was saved.
      UserError: the checkpoint is from an earlier version without checksums, or not readable.
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
            about == _metadata(int(path.name), facts) and _plausible(size, sum(bytes_of))
        )
    except (UserError, AttributeError, KeyError, TypeError, ValueError):
        earlier = good = False
    if earlier:
        raise UserError(
            f"{path} has no checksums: an earlier version of aejax saved it. Use that version, or"
            " train the run again in another directory"
        )
    if not good:
        raise DamagedCheckpoint(path, f"its {_METADATA} is missing or has changed")
    return facts


def _plausible(file_bytes: int, array_bytes: int) -> bool:
    """Whether the size of the files fits that of the arrays: Orbax adds little, and only zeros
    compress to much less."""
    most_files = 4 * array_bytes + _MOST_METADATA
    return file_bytes < most_files and array_bytes < 64 * file_bytes + _MOST_METADATA


def _size(path: Path) -> int:
    """Total size in bytes of the files in a folder.

    Raises:
      DamagedCheckpoint: there is something other than regular files and folders.
      UserError: a file is not readable.
    """
    total, pending = 0, [path]
    try:
        while pending:
            now = pending.pop()
            status = now.lstat()
            if stat.S_ISDIR(status.st_mode):
                pending += now.iterdir()
            elif not stat.S_ISREG(status.st_mode) or now == path:
                reason = "not a folder" if now == path else f"{now.name} is not a regular file"
                raise DamagedCheckpoint(path, reason)
            else:
                now.open("rb").close()
                total += status.st_size
    except FileNotFoundError:
        raise DamagedCheckpoint(path, "it is missing") from None
    except OSError as error:
        raise UserError(f"{now} cannot be read ({error.strerror})") from None
    return total


def _verified(path: Path, facts: _Facts) -> Iterator[tuple[str, np.ndarray]]:
    """Names and arrays of a checkpoint, with verified checksums.

    TensorStore reads the files, since Orbax prints tracebacks from background tasks if they are
    damaged.

    Raises:
      DamagedCheckpoint: an array has changed since it was saved.
    """
    context = tensorstore.Context({"cache_pool": {"total_bytes_limit": _MOST_METADATA}})

    def verified(name: str) -> np.ndarray:
        base = {"driver": "file", "path": f"{path.absolute()}/{_ARRAYS}/"}
        spec = {"driver": "zarr3", "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"}}
        store = tensorstore.open(spec, context=context, open=True, read=True).result()
        # Checked before reading, since shape and type decide how much memory that takes.
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
            except ValueError as error:  # also from TensorStore, with long messages
                text = " ".join(str(error).split())[:80]
                raise DamagedCheckpoint(path, f"{name[4:]}: {text}") from None


def _as_tree(snapshot: Snapshot) -> dict[str, Any]:
    """The leaves by name: files hold named arrays, independent of aejax's types."""
    leaves = jax.tree_util.tree_flatten_with_path(snapshot)[0]
    # Numbered, so that names sort in the order of the leaves.
    return {
        f"{index:04d}{jax.tree_util.keystr(path, simple=True, separator='.')}": leaf
        for index, (path, leaf) in enumerate(leaves)
    }
