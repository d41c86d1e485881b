"""How members of a population, all of one shape, take a step on the same batch."""

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
    """Takes steps of all members."""

    def join(self, states: Sequence[TrainState]) -> Any:
        """All states, as the step takes them; they are donated to it."""

    def __call__(self, joined: Any, batch: Any) -> tuple[Any, Any]:
        """A step of each: all new states, and the metrics of all."""

    def state(self, joined: Any, index: int) -> TrainState:
        """The state of a member."""

    def metrics(self, fetched: Any) -> list[Any]:
        """Of each member, once they are on the host."""

    def stop(self, index: int) -> None:
        """That member has failed, and nobody looks at it any more."""


class Sequential:
    """One after the other, by the same compiled step: what a CPU does best, whose convolutions are
    slower for several sets of weights at once. Two are under way at a time, as one alone does not
    keep all cores busy to its end.

    Args:
      train_step: compiled, of one member.
    """

    def __init__(self, train_step: TrainStep):
        self._train_step = train_step
        self._stopped: set[int] = set()
        # What one thread calls is run one after the other.
        self._lanes = itertools.cycle([ThreadPoolExecutor(1) for _ in range(concurrent_calls())])

    def join(self, states: Sequence[TrainState]) -> list[TrainState | None]:
        """A list of them."""
        return list(states)

    def __call__(
        self, joined: list[TrainState | None], batch: Any
    ) -> tuple[list[TrainState | None], list[Metrics]]:
        """A call for each member that has not stopped."""
        calls = [
            None
            if index in self._stopped
            else next(self._lanes).submit(self._in_lane, state, batch)
            for index, state in enumerate(joined)
        ]
        joined.clear()
        ended = [(None, {}) if call is None else call.result() for call in calls]
        return [state for state, _ in ended], [metrics for _, metrics in ended]

    def _in_lane(self, state: Any, batch: Any) -> tuple[TrainState, Metrics]:
        with jax.transfer_guard("disallow"):  # the loop's own holds for its thread alone
            return self._train_step(state, batch)

    def state(self, joined: list[TrainState | None], index: int) -> TrainState:
        """As it is."""
        state = joined[index]
        assert state is not None  # nobody looks at one that has stopped
        return state

    def metrics(self, fetched: list[Any]) -> list[Any]:
        """They come as a list."""
        return fetched

    def stop(self, index: int) -> None:
        """It takes no more steps."""
        self._stopped.add(index)


class Vmapped:
    """All at once, by ``vmap`` over their states: what an accelerator does best, which one small
    model leaves idle.

    Args:
      train_step: compiled from `vmapped`.
    """

    def __init__(self, train_step: TrainStep):
        self._train_step = train_step

    def join(self, states: Sequence[TrainState]) -> TrainState:
        """One state whose arrays have a first axis of members."""
        joined = stacked(states)
        for leaf in jax.tree.leaves(list(states)):
            leaf.delete()
        return joined

    def __call__(self, joined: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        """One call."""
        return self._train_step(joined, batch)

    def state(self, joined: TrainState, index: int) -> TrainState:
        """A copy of the member's part."""
        return _part(joined, index)

    def metrics(self, fetched: Any) -> list[Any]:
        """Each member's part."""
        members = len(jax.tree.leaves(fetched)[0])
        return [_part(fetched, index) for index in range(members)]

    def stop(self, index: int) -> None:
        """It goes on with the others: to take it out would be another program."""


def vmapped(train_step: TrainStep) -> TrainStep:
    """The step of all members at once, to be compiled: states have a first axis of members, the
    batch is the same for all."""
    return jax.vmap(train_step, in_axes=(0, None))


def stacked(states: Sequence[TrainState]) -> TrainState:
    """States of one shape along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _part(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)
