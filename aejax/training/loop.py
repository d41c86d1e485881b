"""The training loop around the compiled step."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from aejax.models import autoencoder
from aejax.prepare import Experiment
from aejax.runtime import processes, stopping
from aejax.runtime.errors import Interrupted
from aejax.runtime.progress import bar
from aejax.training import checkpoint, profiler
from aejax.training.baselines import Baselines
from aejax.training.compile import compile_step
from aejax.training.recorder import Clock, Recorder, eval_step_of, nothing
from aejax.training.start import first_snapshot, snapshot_shapes
from aejax.training.state import TrainState


class Trained(NamedTuple):
    """The result of training.

    Attributes:
      model: without its variables.
      best: variables with the lowest validation loss, raw and averaged, by name.
    """

    model: autoencoder.Autoencoder
    best: Mapping[str, checkpoint.Best]


def train(
    experiment: Experiment,
    baselines: Baselines,
    show: Callable[[TrainState, Any], None] = nothing,
    *,
    profile: int = 0,
) -> Trained:
    """Trains to the last step; resumes from the newest checkpoint, if there is one.

    Args:
      experiment: to train.
      baselines: its PCA, for initialisation and comparison.
      show: called after each validation with the state and the run's log.
      profile: number of steps to trace into ``profile/`` in the run's directory.

    Raises:
      UserError: a loss is not finite, or the newest checkpoint is from an earlier version.
      Interrupted: on SIGTERM or SIGINT, after saving.
    """
    options, shapes = experiment.config.train, snapshot_shapes(experiment)
    directory = experiment.workdir.path / "checkpoints"
    newest = processes.agree(max(checkpoint.steps(directory), default=None))
    profiler.check(profile, options.steps - (newest or 0))
    train_step = compile_step(experiment, shapes)
    if newest is None:
        snapshot = first_snapshot(experiment, baselines.fit)
    else:
        snapshot = experiment.devices.put_state(checkpoint.read(directory, newest, shapes))
    with contextlib.ExitStack() as stack:
        first, clock = int(snapshot.state.step), Clock()
        progress = stack.enter_context(step_bar(first, options.steps))
        recorder = Recorder(
            stack,
            experiment,
            baselines,
            snapshot.best,
            first=first,
            clock=clock,
            eval_step=eval_step_of(experiment, experiment.model),
            show=show,
            progress=progress,
        )
        state = snapshot.state
        del snapshot  # frees memory: only the loop holds the state
        path = experiment.workdir.path
        step = stack.enter_context(profiler.profiled(train_step, path, profile))
        run_steps(
            state,
            step,
            clock.timed(experiment.train_batches(first)),
            recorder,
            first=first,
            steps=options.steps,
            validate_every=options.validate_every,
            device_put=experiment.put_global,
        )
    return Trained(experiment.model, experiment.devices.local(recorder.best))


def step_bar(first: int, steps: int) -> Any:
    """A progress bar over steps."""
    if first:
        print(f"resuming from step {first}")
    return bar(total=steps, initial=first, desc="training", unit="step")


@runtime_checkable
class Observer(Protocol):
    """Callbacks of `run_steps`."""

    def metrics(self, step: int, metrics: Any, clips: np.ndarray) -> None:
        """Logs the metrics of a finished step; ``clips``: those of its batch."""

    def validate(self, step: int, state: Any) -> None:
        """Validates and saves a state."""

    def save(self, step: int, state: Any) -> None:
        """Saves a state."""


def run_steps(
    state: Any,
    train_step: Callable[[Any, Any], tuple[Any, Any]],
    batches: Iterator[Any],
    observer: Observer,
    *,
    first: int,
    steps: int,
    validate_every: int,
    device_put: Callable[[Any], dict[str, jax.Array]],
) -> None:
    """Runs the training steps from ``first`` to ``steps``.

    Metrics are read one step late, so that the device never waits for the host.

    Args:
      state: state after ``first`` steps; it is donated to the step.
      train_step: compiled step.
      batches: batches from that step on.
      observer: logs metrics, validates and saves.
      first: number of steps before.
      steps: total number of steps.
      validate_every: steps between validations.
      device_put: puts a batch on the devices.

    Raises:
      Interrupted: on SIGTERM or SIGINT, after saving.
    """
    step, pending = first, None
    with stopping.graceful() as asked:
        asked_to_stop = processes.any_of(asked)
        if step == 0:
            observer.validate(step, state)
        while step < steps and not asked_to_stop(step):
            batch = next(batches)
            with jax.transfer_guard("disallow"):
                state, metrics = train_step(state, device_put(batch))
            if pending is not None:
                observer.metrics(*pending)
            step += 1
            pending = step, metrics, batch["clip"]
            if step % validate_every == 0 or step == steps:
                observer.metrics(*pending)
                pending = None
                observer.validate(step, state)
        if number := asked_to_stop(step):
            if pending is not None:
                observer.metrics(*pending)
            observer.save(step, state)
            line = f"stopped after step {step}; run the same command to resume"
            raise Interrupted(line if processes.is_main() else "", number)
