"""The loop, with a step that can be watched, and what is recorded beside it."""

import contextlib
import itertools
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import config as config_module
from aejax import loggers
from aejax.runtime.devices import Devices
from aejax.runtime.errors import Interrupted, UserError
from aejax.training import loop, metrics_log, recorder
from aejax.training.checkpoint import snapshot_of
from aejax.training.state import TrainState
from aejax.training.validation import Validation

pytestmark = pytest.mark.usefixtures("unchecked_types")


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


class Progress:
    """A bar that keeps what it is told."""

    def __init__(self):
        self.losses, self.updates = [], 0

    def set_postfix(self, loss, refresh):
        self.losses.append(loss)

    def update(self):
        self.updates += 1


class Saved:
    """Checkpoints that are not written: of each step once."""

    def __init__(self):
        self.steps, self.snapshot = [], None

    def save(self, snapshot):
        self.snapshot = snapshot
        if int(snapshot.state.step) not in self.steps:
            self.steps.append(int(snapshot.state.step))


@pytest.fixture
def saved():
    return Saved()


@pytest.fixture
def config():
    config = config_module.default()
    config.train.update(steps=6, validate_every=2, log_every=2)
    config.model.pca_start = False
    return config


@pytest.fixture
def warned():
    return []


@pytest.fixture
def run(monkeypatch, tmp_path, saved, config, warned):
    """Runs the loop with a real `Recorder` of an experiment that is made up."""

    def run(losses, *, steps=6, validation=lambda w: abs(w - 4.0), step=descend, **hooks):
        def validate(_, variables, *__):
            loss = validation(float(variables["params"]["w"]))
            return Validation(loss, {"l2": loss}, loss, np.ones(2), np.zeros(2), None)

        monkeypatch.setattr(recorder.validation, "validate", validate)
        monkeypatch.setattr(recorder.validation, "final_weights", lambda *_: {})
        monkeypatch.setattr(recorder.checkpoint, "opened", lambda *_: contextlib.nullcontext(saved))
        experiment = types.SimpleNamespace(
            workdir=types.SimpleNamespace(path=tmp_path),
            config=config,
            model=types.SimpleNamespace(bottleneck=types.SimpleNamespace(codebook_sizes=())),
            objective=None,
            device_put=jax.device_put,
            warn_once=warned.append,
            devices=Devices(1),
            batches=lambda split, own: [split],
            clip_names=lambda clips: f"clip {clips[0]}",
        )
        state = TrainState(
            step=jnp.int32(0),
            params={"w": jnp.float32(0)},
            collections={"constants": {"scale": jnp.float32(2)}},
            opt_state=(),
            weights={},
            ema=None,
            key=None,
        )
        batches = ({"loss": np.float32(x), "clip": np.asarray([i])} for i, x in enumerate(losses))
        clock, progress = recorder.Clock(), Progress()
        with contextlib.ExitStack() as stack:
            observer = recorder.Recorder(
                stack,
                experiment,
                types.SimpleNamespace(validation_rmse=1.0),
                snapshot_of(state).best,
                first=0,
                clock=clock,
                eval_step=None,
                progress=progress,
            )
            loop.run_steps(
                state,
                step,
                clock.timed(batches),
                observer,
                first=0,
                steps=steps,
                validate_every=2,
                device_put=hooks.get("device_put", jax.device_put),
            )
        return saved.snapshot, metrics_log.read(tmp_path / "metrics.jsonl"), progress

    return run


def test_the_best_by_validation_is_kept_and_every_validation_is_saved(run, saved):
    snapshot, logged, progress = run(itertools.count())
    assert int(snapshot.best["raw"].step) == 4
    assert float(snapshot.best["raw"].variables["params"]["w"]) == 4
    assert float(snapshot.state.params["w"]) == 6
    assert saved.steps == [0, 2, 4, 6]
    assert [x["step"] for x in logged if "validation/loss" in x] == [0, 2, 4, 6]
    assert [(x["step"], x["loss/total"]) for x in logged if "loss/total" in x] == [
        (2, 1.0),
        (4, 3.0),
        (6, 5.0),
    ]
    assert progress.losses == [f"{k:.4f}" for k in range(6)]
    assert progress.updates == 6


def test_the_loggers_of_the_config_get_what_is_logged(run, config, tmp_path):
    got = []

    @loggers.register("mine")
    class Mine(loggers.Logger):
        def scalars(self, step, scalars):
            got.append((step, "loss/total" in scalars))

        def close(self):
            got.append((self.path, self.after))

    config.log.loggers = ("mine",)
    run(itertools.count(), steps=2)
    assert got == [(0, False), (2, True), (2, False), (tmp_path, -1)]


@pytest.mark.parametrize(("error", "lines"), [(1.001, 0), (1.3, 1)])
def test_a_start_that_is_not_pca_is_warned_of(run, config, warned, error, lines):
    """PCA's error is 1, and only the first validation is compared with it."""
    config.model.update(pca_start=True, bottleneck="tanh")
    run(itertools.count(), steps=2, validation=lambda w: error + w)
    says = "step 0 is not PCA, since model.bottleneck=tanh changes latents: its validation error is"
    assert [line.startswith(says) for line in warned] == [True] * lines


def test_metrics_are_read_after_the_next_step_is_under_way(run, monkeypatch):
    order = []
    real = jax.device_get

    def step(state, batch):
        order.append(f"start {int(real(state.step)) + 1}")
        return descend(state, batch)

    def device_get(tree):
        if isinstance(tree, dict) and "loss/total" in tree:
            order.append("read")
        return real(tree)

    monkeypatch.setattr(recorder.jax, "device_get", device_get)
    run(itertools.count(), step=step, steps=3, validation=lambda w: 0.0)
    assert order == ["start 1", "start 2", "read", "read", "start 3", "read"]


def test_a_host_array_in_the_loop_is_refused(run):
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        run(itertools.count(), device_put=lambda batch: batch)


def test_a_non_finite_loss_names_step_term_and_clips_and_is_not_saved(run, saved):
    with pytest.raises(UserError, match=r"step 4: loss/total is nan; the batch was clip 3\."):
        run([0.0, 1.0, 2.0, float("nan"), 4.0, 5.0])
    assert saved.steps == [0, 2]


@pytest.mark.parametrize(("call", "stopped_after"), [(4, 6), (2, 2)])
def test_asked_to_stop_it_is_saved_and_stops(run, saved, call, stopped_after):
    """While it validates: in the middle, or at its end."""
    calls = []

    def validation(value):
        calls.append(value)
        if len(calls) == call:
            signal.raise_signal(signal.SIGTERM)
        return value

    with pytest.raises(Interrupted, match=f"stopped after step {stopped_after}") as stopped:
        run(itertools.count(), validation=validation)
    assert stopped.value.number == signal.SIGTERM
    assert saved.steps == list(range(0, stopped_after + 1, 2))


def test_asked_to_stop_between_validations_the_last_step_is_logged_and_saved(run, saved):
    def losses():
        for number in itertools.count():
            if number == 2:
                signal.raise_signal(signal.SIGTERM)
            yield number

    with pytest.raises(Interrupted, match="stopped after step 3"):
        run(losses())
    assert saved.steps == [0, 2, 3]
