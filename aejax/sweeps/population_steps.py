"""Training steps of all members of a population on the same batch: in turn, or by ``vmap``."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from aejax.runtime.parallel import concurrent_calls
from aejax.training.state import TrainState
from aejax.training.step import Metrics, TrainStep


@runtime_checkable
class Population(Protocol):
    """The training step of all members; their states have the same shapes."""

    def join(self, states: Sequence[TrainState]) -> Any:
        """The states of all members as the input of the step; their memory is reused."""

    def __call__(self, joined: Any, batch: Any) -> tuple[Any, Any]:
        """The new states and the metrics of all members."""

    def state(self, joined: Any, index: int) -> TrainState:
        """The state of a member."""

    def metrics(self, fetched: Any) -> list[Any]:
        """The metrics of each member, from the metrics of all members on the host."""

    def stop(self, index: int) -> None:
        """Marks a member as failed; its state and metrics are not used any more."""


class Sequential:
    """Steps the members in turn, with the same compiled step.

    Faster on a CPU, where convolutions with several sets of weights are slow. Two steps overlap,
    since the end of a step does not keep all cores busy.

    Args:
      train_step: compiled, of one member.
    """

    def __init__(self, train_step: TrainStep):
        self._train_step = train_step
        self._stopped: set[int] = set()
        # Each pool has one thread, so its steps run in order.
        self._pools = itertools.cycle([ThreadPoolExecutor(1) for _ in range(concurrent_calls())])

    def join(self, states: Sequence[TrainState]) -> list[TrainState | None]:
        """The states as a list."""
        return list(states)

    def __call__(
        self, joined: list[TrainState | None], batch: Any
    ) -> tuple[list[TrainState | None], list[Metrics]]:
        """Calls the step for each member that has not failed."""
        calls = [
            None if index in self._stopped else next(self._pools).submit(self._step, state, batch)
            for index, state in enumerate(joined)
        ]
        joined.clear()
        results = [(None, {}) if call is None else call.result() for call in calls]
        return [state for state, _ in results], [metrics for _, metrics in results]

    def _step(self, state: Any, batch: Any) -> tuple[TrainState, Metrics]:
        with jax.transfer_guard("disallow"):  # the guard of the loop covers only its own thread
            return self._train_step(state, batch)

    def state(self, joined: list[TrainState | None], index: int) -> TrainState:
        """An element of the list."""
        state = joined[index]
        assert state is not None, "the member has failed"
        return state

    def metrics(self, fetched: list[Any]) -> list[Any]:
        """The same list."""
        return fetched

    def stop(self, index: int) -> None:
        """The member takes no more steps."""
        self._stopped.add(index)


class Vmapped:
    """Steps all members at once, by ``vmap`` over their states.

    Faster on an accelerator, which a single small model does not keep busy.

    Args:
      train_step: compiled from `vmapped`.
    """

    def __init__(self, train_step: TrainStep):
        self._train_step = train_step

    def join(self, states: Sequence[TrainState]) -> TrainState:
        """One state, with members along the first axis of its arrays."""
        joined = stacked(states)
        for leaf in jax.tree.leaves(list(states)):
            leaf.delete()
        return joined

    def __call__(self, joined: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        """Calls the step once."""
        return self._train_step(joined, batch)

    def state(self, joined: TrainState, index: int) -> TrainState:
        """A copy of the member's arrays."""
        return _part(joined, index)

    def metrics(self, fetched: Any) -> list[Any]:
        """The metrics split along the first axis."""
        members = len(jax.tree.leaves(fetched)[0])
        return [_part(fetched, index) for index in range(members)]

    def stop(self, index: int) -> None:
        """Does nothing: the member continues, since fewer members need another program."""


def vmapped(train_step: TrainStep) -> TrainStep:
    """A train step with members along the first axis of the state, on one batch."""
    return jax.vmap(train_step, in_axes=(0, None))


def stacked(states: Sequence[TrainState]) -> TrainState:
    """States of the same shapes, stacked along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _part(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)
