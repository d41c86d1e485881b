"""The loop that drives the compiled step: validation, snapshots, metrics, stopping."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from aejax.errors import Interrupted, UserError
from aejax.models import autoencoder
from aejax.runtime import stopping
from aejax.training.checkpoint import Best, Snapshot
from aejax.training.population import Population
from aejax.training.state import TrainState, create, optimiser


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


class Member(NamedTuple):
    """One of those that are trained side by side; a run alone is one of one.

    Attributes:
      validate: the state to scalars that are logged, and the validation loss of each of its
        candidates, by name: the lower the better.
      save: takes a snapshot after each validation, and when the run is asked to stop.
      log: takes scalars every ``log_every`` steps and at each validation.
    """

    validate: Callable[[TrainState], tuple[dict[str, float], dict[str, float]]]
    save: Callable[[Snapshot], None]
    log: Log


class _Pending(NamedTuple):
    """A step that may still be running on the device."""

    step: int
    metrics: Any
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


def abstract_snapshot(
    config: ConfigDict, model: autoencoder.Autoencoder, weights: Mapping[str, float]
) -> Snapshot:
    """The shapes of the snapshots of a run, which take no memory.

    Args:
      config: of the run, all of it.
      model: of the run.
      weights: of the loss's terms, by name.
    """
    tx = optimiser(config.train, pca_start=config.model.pca_start)

    def first() -> Snapshot:
        key = jax.random.key(0)
        features = jnp.zeros((1, config.model.downsampling, model.bins))
        variables = autoencoder.without_losses(model.init(key, features))
        return first_snapshot(create(variables, tx, key, weights, ema=config.train.ema_decay > 0))

    return jax.eval_shape(first)


def train(
    members: Sequence[Member],
    first: list[Snapshot],
    population: Population,
    batches: Iterator[Any],
    *,
    schedule: Schedule,
    place: Callable[[Any], dict[str, jax.Array]],
    progress: Callable[[int, dict[str, float]], None],
    name_clips: Callable[[np.ndarray], str],
) -> list[Snapshot | UserError]:
    """Trains all members from their first snapshots, all after the same step, to the last.

    Args:
      members: of one shape.
      first: their snapshots. The list is emptied and the states are donated, so that a snapshot
        of each is all that is in memory, if nobody else has them.
      population: takes their steps.
      batches: from the snapshots' step on.
      schedule: how often to validate, save and log.
      place: puts a batch on the devices.
      progress: told of every step, one step late, and of the scalars of the first member that is
        still there.
      name_clips: indices of clips to their names, for the message about a bad batch.

    Returns:
      The last snapshot of each; or the error of one that had a loss that is not finite: its newest
      snapshot is from before.

    Raises:
      Interrupted: on SIGTERM or SIGINT, after saving.
    """
    step = int(first[0].state.step)
    # States are in `joined` alone: of large models there is no room for them twice.
    snapshots: list[Snapshot | UserError] = [
        dataclasses.replace(snapshot, state=None) for snapshot in first
    ]
    joined = population.join([snapshot.state for snapshot in first])
    first.clear()
    clock = _Clock()
    pending: _Pending | None = None

    def going() -> dict[int, Snapshot]:
        return {
            place: found for place, found in enumerate(snapshots) if isinstance(found, Snapshot)
        }

    def settle() -> None:
        """Waits for the pending step and looks at its metrics."""
        nonlocal pending, joined
        if pending is None:
            return
        fetched = population.metrics(jax.device_get(pending.metrics))
        now = pending.step
        times = clock.read() if now % schedule.log_every == 0 else None
        shown: dict[str, float] | None = None
        for index in going():
            scalars = {name: float(value) for name, value in fetched[index].items()}
            bad = _non_finite(pending, scalars, name_clips)
            if bad is not None:
                snapshots[index] = bad
                joined = population.stop(joined, index)
                continue
            if times is not None:
                members[index].log(now, scalars | times)
            shown = shown or scalars
        if shown is not None:
            progress(now, shown)
        pending = None

    def check(index: int, snapshot: Snapshot, state: TrainState) -> None:
        """Validates, keeps the better variables, and saves."""
        member = members[index]
        scalars, losses = member.validate(state)
        member.log(step, scalars)
        best = snapshot.best
        for name, variables in state.candidates.items():
            if losses[name] < float(best[name].loss):
                del best[name]  # before there is another
                copy = jax.tree.map(jnp.copy, variables)
                best[name] = Best(copy, jnp.float32(losses[name]), jnp.int32(step))
        member.save(dataclasses.replace(snapshot, state=state))

    def check_all() -> None:
        for index, snapshot in going().items():
            check(index, snapshot, population.state(joined, index))
        clock.reset()

    def whole(index: int, snapshot: Snapshot) -> Snapshot:
        return dataclasses.replace(snapshot, state=population.state(joined, index))

    def stopped(number: int) -> Interrupted:
        return Interrupted(
            f"stopped after step {step}; the same command goes on from there", number
        )

    with stopping.graceful() as asked_to_stop:
        if step == 0:
            check_all()
        while step < schedule.steps and going():
            if number := asked_to_stop():
                settle()
                for index, snapshot in going().items():
                    members[index].save(whole(index, snapshot))
                raise stopped(number)
            with clock.waiting():
                host_batch = next(batches)
            with jax.transfer_guard("disallow"):
                joined, metrics = population.step(joined, place(host_batch))
            settle()
            step += 1
            pending = _Pending(step, metrics, host_batch["clip"])
            if step % schedule.validate_every == 0 or step == schedule.steps:
                settle()
                check_all()
        if number := asked_to_stop():  # while it validated for the last time, and saved
            raise stopped(number)
    return [
        whole(index, found) if isinstance(found, Snapshot) else found
        for index, found in enumerate(snapshots)
    ]


def _non_finite(
    pending: _Pending, scalars: dict[str, float], name_clips: Callable[[np.ndarray], str]
) -> UserError | None:
    """What to say of scalars that are not finite, if there are any."""
    bad = [name for name, value in scalars.items() if not math.isfinite(value)]
    bad.sort(key=lambda name: not name.startswith("loss/"))
    if not bad:
        return None
    return UserError(
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
