"""The loop that drives the compiled step: validation, snapshots, metrics, stopping."""

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from aejax.errors import UserError
from aejax.training.checkpoint import Best, Snapshot
from aejax.training.state import TrainState


class Interrupted(UserError):
    """The run was asked to stop, and has saved where it was."""


@runtime_checkable
class Log(Protocol):
    """Takes the scalars of a step."""

    def __call__(self, step: int, scalars: dict[str, float]) -> None:
        """Logs them."""


class Schedule(NamedTuple):
    """How often, in steps: see ``config.train``."""

    steps: int
    validate_every: int
    log_every: int


class _Pending(NamedTuple):
    """A step that may still be running on the device."""

    step: int
    metrics: dict[str, jax.Array]
    clips: np.ndarray


def first_snapshot(state: TrainState) -> Snapshot:
    """The snapshot of a run that has not begun: its own variables are the best so far."""
    return Snapshot(
        state,
        {
            # A copy: the step donates its state, and the best variables must outlive that.
            name: Best(jax.tree.map(jnp.copy, variables), jnp.float32(jnp.inf), jnp.int32(0))
            for name, variables in state.candidates.items()
        },
    )


def train(
    snapshot: Snapshot,
    train_step: Callable[[TrainState, dict[str, jax.Array]], tuple[TrainState, dict]],
    batches: Iterator[Any],
    *,
    schedule: Schedule,
    place: Callable[[Any], dict[str, jax.Array]],
    validate: Callable[[TrainState], tuple[dict[str, float], dict[str, float]]],
    save: Callable[[Snapshot], None],
    log: Log,
    progress: Callable[[int, dict[str, float]], None],
    name_clips: Callable[[np.ndarray], str],
) -> Snapshot:
    """Trains from a snapshot to the last step.

    Args:
      snapshot: where to begin; its state is donated.
      train_step: compiled.
      batches: from the snapshot's step on.
      schedule: how often to validate, save and log.
      place: puts a batch on the devices.
      validate: the state to scalars that are logged, and the validation loss of each of its
        candidates, by name: the lower the better.
      save: takes a snapshot after each validation, and when the run is asked to stop.
      log: takes scalars every ``log_every`` steps and at each validation.
      progress: told of every step's scalars, one step late.
      name_clips: indices of clips to their names, for the message about a bad batch.

    Raises:
      UserError: a loss term is not finite. The newest snapshot is from before.
      Interrupted: on SIGTERM or SIGINT, after saving.
    """
    state = snapshot.state
    step = int(state.step)
    clock = _Clock()
    pending: _Pending | None = None

    def settle() -> dict[str, float]:
        """Waits for the pending step and looks at its metrics."""
        nonlocal pending
        if pending is None:
            return {}
        scalars = {name: float(value) for name, value in jax.device_get(pending.metrics).items()}
        _refuse_non_finite(pending, scalars, name_clips)
        if pending.step % schedule.log_every == 0:
            log(pending.step, scalars | clock.read())
        progress(pending.step, scalars)
        pending = None
        return scalars

    def check(snapshot: Snapshot) -> Snapshot:
        """Validates, keeps the better variables, and saves."""
        scalars, losses = validate(state)
        log(step, scalars)
        best = {
            name: Best(
                jax.tree.map(jnp.copy, variables), jnp.float32(losses[name]), jnp.int32(step)
            )
            if losses[name] < float(snapshot.best[name].loss)
            else snapshot.best[name]
            for name, variables in state.candidates.items()
        }
        snapshot = dataclasses.replace(snapshot, state=state, best=best)
        save(snapshot)
        clock.reset()
        return snapshot

    with _stop_signals() as asked_to_stop:
        if step == 0:
            snapshot = check(snapshot)
        while step < schedule.steps:
            if asked_to_stop():
                settle()
                save(dataclasses.replace(snapshot, state=state))
                raise Interrupted(f"stopped after step {step}; the same command goes on from there")
            with clock.waiting():
                host_batch = next(batches)
            with jax.transfer_guard("disallow"):
                state, metrics = train_step(state, place(host_batch))
            settle()
            step += 1
            pending = _Pending(step, metrics, host_batch["clip"])
            if step % schedule.validate_every == 0 or step == schedule.steps:
                settle()
                snapshot = check(snapshot)
    return dataclasses.replace(snapshot, state=state)


def _refuse_non_finite(
    pending: _Pending, scalars: dict[str, float], name_clips: Callable[[np.ndarray], str]
) -> None:
    bad = [name for name, value in scalars.items() if not math.isfinite(value)]
    bad.sort(key=lambda name: not name.startswith("loss/"))
    if bad:
        raise UserError(
            f"step {pending.step}: {', '.join(f'{name} is {scalars[name]}' for name in bad)};"
            f" the batch was {name_clips(pending.clips)}. The last good checkpoint is kept; a lower"
            " train.learning_rate or train.clip_norm may help"
        )


class _Clock:
    """Steps per second, and the fraction of the time spent waiting for data."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._start, self._waited, self._steps = time.perf_counter(), 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start
        self._steps += 1

    def read(self) -> dict[str, float]:
        elapsed = time.perf_counter() - self._start
        scalars = {
            "time/steps_per_second": self._steps / elapsed,
            "time/data_wait_fraction": self._waited / elapsed,
        }
        self.reset()
        return scalars


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or SIGINT has come; the second SIGINT interrupts at once."""
    received = []

    def handle(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, previous[number])

    previous: dict[int, Any] = {}
    try:
        for caught in (signal.SIGTERM, signal.SIGINT):
            previous[caught] = signal.signal(caught, handle)
    except ValueError:  # not in the main thread, where Python allows no handlers
        pass
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
