"""Several JAX processes that work on one run: how they agree, and add up.

All run the same program. Process 0 is the main one: it alone prints and writes files. What several
devices compute together is in one compiled step; everything else a process computes on its own
devices, and sums of NumPy arrays are exchanged at the end.
"""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, NoReturn, TypeVar

import numpy as np

from aejax.runtime import files, stopping
from aejax.runtime.errors import UserError, printable

Tree = TypeVar("Tree")

# Seconds after an error of the run until the other processes end, and the main one.
_OTHERS_END, _MAIN_ENDS = 0.5, 1.0


@dataclasses.dataclass
class _Group:
    """This process's place among the processes of the run."""

    index: int = 0
    count: int = 1


_group = _Group()


def index() -> int:
    """The number of this process; 0 is the main one."""
    return _group.index


def count() -> int:
    """The number of processes."""
    return _group.count


def is_main() -> bool:
    """Whether this process prints and writes files."""
    return _group.index == 0


def join() -> None:
    """Takes this process's number from JAX, if `rendezvous.start` or the user's own program has
    initialised ``jax.distributed``. All but the main process print and write nothing from here on.
    """
    import jax

    if count() > 1 or not jax.distributed.is_initialized():
        return
    _group.index, _group.count = jax.process_index(), jax.process_count()
    if not is_main():
        from aejax.runtime import progress

        files.only_read()
        progress.silence()


def gather(content: bytes) -> list[bytes]:
    """The bytes of every process, in their order."""
    if count() == 1:
        return [content]
    own = np.asarray(divmod(len(content), _PIECE), np.int32)
    lengths = [int(pieces) * _PIECE + int(rest) for pieces, rest in _gathered(own)]
    parts: list[list[bytes]] = [[] for _ in lengths]
    for start in range(0, max(lengths), _PIECE):
        padded = np.zeros(min(_PIECE, max(lengths) - start), np.uint8)
        piece = np.frombuffer(content[start : start + _PIECE], np.uint8)
        padded[: len(piece)] = piece
        for row, length, part in zip(_gathered(padded), lengths, parts, strict=True):
            part.append(row[: max(0, length - start)].tobytes())
    return [b"".join(part) for part in parts]


_PIECE = 1 << 26  # bytes of each process that are on a device at once


def _gathered(array: np.ndarray) -> np.ndarray:
    from jax.experimental import multihost_utils

    with explain_loss():
        return np.asarray(multihost_utils.process_allgather(array))


@contextlib.contextmanager
def explain_loss() -> Iterator[None]:
    """Turns errors of communication into one about a lost process.

    Raises:
      UserError: another process has ended.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if count() == 1 or not any(word in str(error) for word in _COMMUNICATION):
            raise
        raise UserError(
            f"process {index()}: another process of this run has ended; its output says why. Run"
            " the same command to resume"
        ) from None


_COMMUNICATION = ("Gloo", "gloo", "NCCL", "Connection", "UNAVAILABLE", "coordination service")


def wait() -> None:
    """Waits for all processes."""
    gather(b"")


def agree(value: Any) -> Any:
    """The main process's value, of JSON, in all processes."""
    return value if count() == 1 else json.loads(gather(json.dumps(value).encode())[0])


def gather_tree(tree: Tree) -> list[Tree]:
    """A pytree of NumPy arrays of the same shapes from every process, in their order."""
    import jax

    if count() == 1:
        return [tree]
    leaves, structure = jax.tree.flatten(tree)
    arrays = [np.asarray(leaf) for leaf in leaves]
    starts = np.cumsum([0, *(array.nbytes for array in arrays)])

    def parsed(row: bytes) -> Tree:
        parts = (
            np.frombuffer(row[start : start + array.nbytes], array.dtype).reshape(array.shape)
            for array, start in zip(arrays, starts.tolist(), strict=False)
        )
        return jax.tree.unflatten(structure, [part.copy() for part in parts])

    return [parsed(row) for row in gather(b"".join(array.tobytes() for array in arrays))]


def total(tree: Tree) -> Tree:
    """The sum over processes of each array of a pytree, in its own precision."""
    import jax

    return functools.reduce(lambda a, b: jax.tree.map(np.add, a, b), gather_tree(tree))


def concatenate(array: np.ndarray) -> np.ndarray:
    """The rows of all processes, in their order."""
    rows = gather(np.ascontiguousarray(array).tobytes())
    return np.concatenate(
        [np.frombuffer(row, array.dtype).reshape(-1, *array.shape[1:]) for row in rows]
    )


def any_of(asked: Callable[[], int | None]) -> Callable[[int], int | None]:
    """A function of the step that returns the signal that any process has received, or None.

    The processes ask each other about once a second, all after the same step.

    Args:
      asked: returns the signal that this process has received, or None.
    """
    if count() == 1:
        return lambda step: asked()
    following, every, since, number = 0, 1, time.monotonic(), 0

    def check(step: int) -> int | None:
        nonlocal following, every, since, number
        if step >= following and not number:
            elapsed = max(time.monotonic() - since, 1e-3)
            wish = max(1, min(2 * every, int(every * _EVERY / elapsed)))
            rows = [json.loads(row) for row in gather(json.dumps([asked() or 0, wish]).encode())]
            number = max(row[0] for row in rows)
            every = rows[0][1]
            following, since = step + every, time.monotonic()
        return number or None

    return check


_EVERY = 1.0  # seconds between two questions


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A block without communication in which a process may fail: then all fail, and the main one
    says why.

    Raises:
      UserError: a process has failed.
    """
    with _collected() as failures:
        yield
    _raise_alike(failures)


@contextlib.contextmanager
def main_first() -> Iterator[None]:
    """A block without communication that the main process runs before the others, which can read
    what it wrote.

    Raises:
      UserError: a process has failed.
    """
    if not is_main():
        _raise_alike([])
    with _collected() as failures:
        yield
    if is_main():
        _raise_alike(failures)
    _raise_alike([] if is_main() else failures)


@contextlib.contextmanager
def _collected() -> Iterator[list[UserError]]:
    """The error of the block, which does not leave it, if there are other processes to tell."""
    failures: list[UserError] = []
    try:
        yield failures
    except UserError as error:
        if count() == 1:
            raise
        failures.append(error)


def _raise_alike(failures: list[UserError]) -> None:
    """Raises the first failure of any process in all of them."""
    if count() == 1:
        return
    own = "".join(map(str, failures)).encode()
    messages = [row.decode(errors="replace") for row in gather(own)]
    process = next((number for number, message in enumerate(messages) if message), None)
    if process is None:
        return
    if not is_main():
        raise UserError("")
    prefix = f"process {process}: " if process else ""
    raise UserError(prefix + messages[process].removeprefix(prefix))


def check_alike(values: dict[str, str]) -> None:
    """Checks that all processes have the same values, by name, and versions of aejax and JAX.

    Raises:
      UserError: a process has another value.
    """
    versions = {f"the version of {name}": metadata.version(name) for name in ("aejax", "jax")}
    values = values | versions
    main = agree(values)
    with together():
        for name, value in values.items():
            if value != main[name]:
                ours, theirs = _difference(value, main[name])
                raise UserError(
                    f"{name} differs from that of process 0 ({printable(ours)}, not"
                    f" {printable(theirs)}); start all with the same command and versions"
                )


def _difference(ours: str, theirs: str) -> tuple[str, str]:
    """The first lines that differ."""
    lines = zip(ours.splitlines(), theirs.splitlines(), strict=False)
    return next(((a.strip(" ,"), b.strip(" ,")) for a, b in lines if a != b), ("more", "less"))


def leave(code: int) -> NoReturn:
    """Exits with a code; if that is an error, without JAX, which would wait for the others."""
    if code and count() > 1:
        # The main process prints first, since mpirun kills it when another ends; it ends last,
        # since the others would report its end.
        time.sleep(_MAIN_ENDS if is_main() else _OTHERS_END)
        stopping.end(code)
    stopping.leave(code)
