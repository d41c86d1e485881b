"""Several trainings in one compiled step: members that differ in what is an array.

A member may have a seed, learning rate, weight decay, dropout, weights of its loss's terms, and
latents of its own. Those of fewer latents are `grown` by zeros to the size of the largest: a latent
whose weights are zero on both sides stays at zero and has no gradient, so that a grown model is the
same model, and `cut` again it is what it would have become alone.
"""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from aejax.config import LOSSES, flatten
from aejax.overlap import at_a_time
from aejax.training.state import TrainState
from aejax.training.step import Metrics, TrainStep

# Bottlenecks that treat each latent by itself, and draw nothing at random for it.
_LATENT_BY_LATENT = ("none", "tanh")


def shared(config: ConfigDict) -> dict[str, Any]:
    """What members of one population have in common: keys of the config with their values, but for
    those whose value is an array in the step, or that mean nothing to it."""
    flat = flatten(config)
    free = ["name", "seed", "train.learning_rate", "train.weight_decay"]
    free += [key for key in flat if key.startswith("evaluate.")]
    if config.model.bottleneck in _LATENT_BY_LATENT:
        free.append("model.latent_dim")
    # Whether there is any is another program.
    some = ["model.dropout", *(f"loss.{name}.weight" for name in LOSSES)]
    return {
        key: bool(value) if key in some else value for key, value in flat.items() if key not in free
    }


def grown(tree: Any, like: Any) -> Any:
    """Arrays with zeros behind their ends, in the shapes of ``like``.

    Args:
      tree: a pytree of arrays.
      like: the same of arrays, or of what has a shape, each axis at least as long.
    """

    def one(leaf: jax.Array, wanted: Any) -> jax.Array:
        more = [(0, there - here) for here, there in zip(leaf.shape, wanted.shape, strict=True)]
        return jnp.pad(leaf, more) if any(after for _, after in more) else leaf

    return jax.tree.map(one, tree, like)


def cut(tree: Any, like: Any) -> Any:
    """Inverse of `grown`: of each array what ``like`` has room for."""

    def one(leaf: jax.Array, wanted: Any) -> jax.Array:
        return leaf if leaf.shape == wanted.shape else leaf[tuple(map(slice, wanted.shape))]

    return jax.tree.map(one, tree, like)


@runtime_checkable
class Population(Protocol):
    """How members, all of one shape, take a step on the same batch."""

    def join(self, states: Sequence[TrainState]) -> Any:
        """All states, as `step` takes them; they are donated to it."""

    def step(self, joined: Any, batch: Any) -> tuple[Any, Any]:
        """A step of each: all new states, and the metrics of all."""

    def state(self, joined: Any, index: int) -> TrainState:
        """The state of a member."""

    def metrics(self, fetched: Any) -> list[Any]:
        """Of each member, once they are on the host."""

    def stop(self, joined: Any, index: int) -> Any:
        """All states, when that member has failed and nobody looks at it any more."""


class InTurns:
    """One after the other, by the same compiled step: what a CPU does best, whose convolutions are
    slower for several sets of weights at once. Two are under way at a time, as one alone does not
    keep all cores busy to its end.

    Args:
      train_step: compiled, of one member.
    """

    def __init__(self, train_step: TrainStep):
        self._train_step = train_step
        # What one thread calls is run one after the other.
        self._lanes = itertools.cycle([ThreadPoolExecutor(1) for _ in range(at_a_time())])

    def join(self, states: Sequence[TrainState]) -> list[TrainState | None]:
        """A list of them."""
        return list(states)

    def step(
        self, joined: list[TrainState | None], batch: Any
    ) -> tuple[list[TrainState | None], list[Metrics]]:
        """A call for each member that is still there."""
        calls = [
            None if one is None else next(self._lanes).submit(self._in_lane, one, batch)
            for one in joined
        ]
        found = [(None, {}) if call is None else call.result() for call in calls]
        return [state for state, _ in found], [metrics for _, metrics in found]

    def _in_lane(self, state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        with jax.transfer_guard("disallow"):  # the loop's own holds for its thread alone
            return self._train_step(state, batch)

    def state(self, joined: list[TrainState | None], index: int) -> TrainState:
        """As it is."""
        found = joined[index]
        assert found is not None  # nobody looks at one that has stopped
        return found

    def metrics(self, fetched: list[Any]) -> list[Any]:
        """They come as a list."""
        return fetched

    def stop(self, joined: list[TrainState | None], index: int) -> list[TrainState | None]:
        """It takes no more steps."""
        return [None if place == index else one for place, one in enumerate(joined)]


class AtOnce:
    """All at once, by ``vmap`` over their states: what an accelerator does best, which one small
    model leaves idle.

    Args:
      train_step: compiled from `at_once`.
    """

    def __init__(self, train_step: TrainStep):
        self._train_step = train_step

    def join(self, states: Sequence[TrainState]) -> TrainState:
        """One state whose arrays have a first axis of members."""
        joined = stacked(states)
        for leaf in jax.tree.leaves(list(states)):
            leaf.delete()
        return joined

    def step(self, joined: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        """One call."""
        return self._train_step(joined, batch)

    def state(self, joined: TrainState, index: int) -> TrainState:
        """A copy of the member's part."""
        return _part(joined, index)

    def metrics(self, fetched: Any) -> list[Any]:
        """Each member's part."""
        members = len(jax.tree.leaves(fetched)[0])
        return [_part(fetched, index) for index in range(members)]

    def stop(self, joined: TrainState, index: int) -> TrainState:
        """It goes on with the others: to take it out would be another program."""
        del index
        return joined


def at_once(train_step: TrainStep) -> TrainStep:
    """The step of all members at once, to be compiled: states have a first axis of members, the
    batch is the same for all."""
    return jax.vmap(train_step, in_axes=(0, None))


def stacked(states: Sequence[TrainState]) -> TrainState:
    """States of one shape along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _part(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)
