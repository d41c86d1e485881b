"""The loop, with a step that can be watched."""

import itertools
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.errors import Interrupted, UserError
from aejax.training import loop
from aejax.training.population import InTurns
from aejax.training.state import TrainState


@jax.jit
def descend(state, batch):
    """One parameter that goes 0, 1, 2, ...; the loss is that of the batch."""
    new = TrainState(
        step=state.step + 1,
        params={"w": state.params["w"] + 1},
        collections={},
        ema=None,
        opt_state=state.opt_state,
        weights={},
        key=state.key,
    )
    return new, {"loss/total": batch["loss"]}


def run(losses, *, steps=6, validation=lambda w: abs(w - 4.0), place=jax.device_put, **hooks):
    state = TrainState(
        step=jnp.int32(0),
        params={"w": jnp.float32(0)},
        collections={},
        opt_state=(),
        weights={},
        ema=None,
        key=None,
    )
    batches = ({"loss": np.float32(x), "clip": np.asarray([i])} for i, x in enumerate(losses))

    def validate(state):
        loss = validation(float(state.params["w"]))
        return {"validation/loss": loss}, dict.fromkeys(state.candidates, loss)

    saved, logged, seen = hooks.get("saved", []), [], []
    member = loop.Member(
        validate=validate,
        save=lambda snapshot: saved.append(int(snapshot.state.step)),
        log=lambda step, scalars: logged.append((step, scalars)),
    )
    (snapshot,) = loop.train(
        [member],
        [loop.first_snapshot(state)],
        InTurns(hooks.get("step", descend)),
        batches,
        schedule=loop.Schedule(steps=steps, validate_every=2, log_every=2),
        place=place,
        progress=lambda step, scalars: seen.append((step, scalars)),
        name_clips=lambda clips: f"clip {clips[0]}",
    )
    if isinstance(snapshot, UserError):
        raise snapshot
    return snapshot, saved, logged, seen


def test_the_best_by_validation_is_kept_and_every_validation_is_saved():
    snapshot, saved, logged, seen = run(itertools.count())
    assert int(snapshot.best["raw"].step) == 4
    assert float(snapshot.best["raw"].variables["params"]["w"]) == 4
    assert float(snapshot.state.params["w"]) == 6
    assert saved == [0, 2, 4, 6]
    assert [step for step, x in logged if "validation/loss" in x] == [0, 2, 4, 6]
    assert [step for step, x in logged if "loss/total" in x] == [2, 4, 6]
    assert seen == [(k + 1, {"loss/total": float(k)}) for k in range(6)]


def test_metrics_are_read_after_the_next_step_is_under_way():
    order = []

    def step(state, batch):
        order.append(f"start {int(jax.device_get(state.step)) + 1}")
        return descend(state, batch)

    real = jax.device_get

    def device_get(tree):
        if isinstance(tree, list):
            order.append("read")
        return real(tree)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.jax, "device_get", device_get)
        run(itertools.count(), step=step, steps=3, validation=lambda w: 0.0)
    assert order[:3] == ["start 1", "start 2", "read"]


def test_a_host_array_in_the_loop_is_refused():
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        run(itertools.count(), place=lambda batch: batch)


def test_a_non_finite_loss_names_step_term_and_clips_and_is_not_saved():
    saved = []
    with pytest.raises(UserError, match=r"step 4: loss/total is nan; the batch was clip 3\."):
        run([0.0, 1.0, 2.0, float("nan"), 4.0, 5.0], saved=saved)
    assert saved == [0, 2]


def test_asked_to_stop_at_its_end_it_is_saved_and_stops():
    calls = []

    def validation(value):
        calls.append(value)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGTERM)
        return value

    saved = []
    with pytest.raises(Interrupted, match="stopped after step 6") as stopped:
        run(itertools.count(), validation=validation, saved=saved)
    assert stopped.value.number == signal.SIGTERM
    assert saved == [0, 2, 4, 6]
