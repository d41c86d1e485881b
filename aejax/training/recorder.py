"""The callbacks of a run: validation, checkpoints and the log."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax import loggers
from aejax.evaluation import metrics
from aejax.models import autoencoder
from aejax.prepare import Experiment
from aejax.runtime import processes
from aejax.runtime.errors import UserError
from aejax.training import checkpoint, metrics_log, state, validation
from aejax.training.baselines import Baselines
from aejax.training.checkpoint import Best, Snapshot
from aejax.training.state import TrainState


def nothing(state: TrainState, log: metrics_log.MetricsLog) -> None:
    """The default callback: does nothing."""


def unchanged(snapshot: Snapshot) -> Snapshot:
    """The snapshot itself."""
    return snapshot


def eval_step_of(experiment: Experiment, model: autoencoder.Autoencoder) -> validation.EvalStep:
    """The compiled evaluation of one validation batch."""
    step = validation.make_eval_step(
        experiment.representation,
        model,
        experiment.objective,
        downsampling=experiment.downsampling,
        noise=experiment.noise_to_remove,
    )
    return jax.jit(step)


class Recorder:
    """Validates, keeps the best variables, saves and logs; an `aejax.training.loop.Observer`.

    Args:
      stack: closes the log and the checkpoints.
      experiment: the run's experiment.
      baselines: its PCA.
      best: the best variables so far, by name; updated.
      first: number of steps before.
      clock: clock of the steps.
      eval_step: evaluation of one validation batch, from `eval_step_of`.
      show: called after each validation.
      progress: progress bar over steps, or None.
      model: model with the shapes of the states; that of the experiment by default.
      as_saved: function from a snapshot to the one to save.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        experiment: Experiment,
        baselines: Baselines,
        best: dict[str, Best],
        *,
        first: int,
        clock: "Clock",
        eval_step: validation.EvalStep,
        show: Callable[[TrainState, metrics_log.MetricsLog], None] = nothing,
        progress: Any = None,
        model: autoencoder.Autoencoder | None = None,
        as_saved: Callable[[Snapshot], Snapshot] = unchanged,
    ):
        path, config = experiment.workdir.path, experiment.config
        self.best = best
        self._experiment, self._model = experiment, model or experiment.model
        self._pca_rmse = baselines.validation_rmse
        self._clock, self._eval_step, self._show = clock, eval_step, show
        self._progress, self._as_saved = progress, as_saved
        after = first if checkpoint.steps(path / "checkpoints") else None
        self._checkpoints = stack.enter_context(checkpoint.opened(path / "checkpoints", after))
        self._log = stack.enter_context(metrics_log.MetricsLog(path, after=first or -1))
        if processes.is_main():
            for logger in loggers.from_config(config, path, first or -1):
                self._log.loggers.append(logger)
        self._learning_rate = state.learning_rate(config.train)
        self._weights = validation.final_weights(experiment.objective, self._model)

    def metrics(self, step: int, metrics: Any, clips: np.ndarray) -> None:
        """Logs the metrics of a finished step.

        Raises:
          UserError: a metric is not finite.
        """
        scalars = {name: float(value) for name, value in jax.device_get(metrics).items()}
        bad = [name for name, value in scalars.items() if not math.isfinite(value)]
        if bad:
            bad.sort(key=lambda name: not name.startswith("loss/"))
            raise UserError(
                f"step {step}: {', '.join(f'{name} is {scalars[name]}' for name in bad)};"
                f" the batch was {self._experiment.clip_names(clips)}. The last good checkpoint is"
                " kept; a lower train.learning_rate or train.clip_norm may help"
            )
        options = self._experiment.config.train
        if step % options.log_every == 0:
            rate = float(self._learning_rate((step - 1) // options.grad_accum_steps))
            self._log(step, scalars | self._clock.read(step) | {"learning_rate": rate})
        if self._progress is not None:
            self._progress.set_postfix(loss=f"{scalars['loss/total']:.4f}", refresh=False)
            self._progress.update()

    def validate(self, step: int, state: TrainState) -> None:
        """Validates a state, logs the results, updates the best variables, and saves."""
        scalars, losses = self._validated(state)
        self._log(step, scalars)
        for name, variables in state.candidates.items():
            if losses[name] < float(self.best[name].loss):
                del self.best[name]  # before the copy, to save memory
                copy = jax.tree.map(jnp.copy, variables)
                facts = np.float32(losses[name]), np.int32(step)
                self.best[name] = Best(copy, *self._experiment.devices.put_state(facts))
        self.save(step, state)
        self._clock.reset()

    def save(self, step: int, state: TrainState) -> None:
        """Saves a checkpoint."""
        del step
        self._checkpoints.save(self._as_saved(Snapshot(state, self.best)))

    def _validated(self, state: TrainState) -> tuple[dict[str, float], dict[str, float]]:
        """Scalars to log, and the validation loss of each candidate."""
        experiment, pca_rmse = self._experiment, self._pca_rmse
        scalars, losses = {"validation/pca_feature_rmse": pca_rmse}, {}
        for name, variables in state.candidates.items():
            variables = experiment.devices.local(variables)
            result = validation.validate(
                self._eval_step,
                variables,
                experiment.batches("validation", own=True),
                experiment.device_put,
                self._weights,
            )
            prefix = "validation" if name == "raw" else f"validation_{name}"
            scalars |= {
                f"{prefix}/loss": result.loss,
                f"{prefix}/feature_rmse": result.feature_rmse,
            }
            if len(result.terms) > 1:
                scalars |= {f"{prefix}/loss/{term}": value for term, value in result.terms.items()}
            gain = metrics.gain_db(result.feature_rmse, pca_rmse)
            if gain is not None:
                scalars[f"{prefix}/gain_over_pca_db"] = gain
            losses[name] = result.loss
            if name == "raw":
                self._warn(result, state)
        self._show(state, self._log)
        return scalars, losses

    def _warn(self, result: validation.Validation, state: TrainState) -> None:
        """Warns of a start that is not PCA, and later of collapse."""
        config, lines = self._experiment.config.model, []
        if int(state.step):
            sizes = self._model.bottleneck.codebook_sizes
            first = result.first(config.latent_dim)
            lines = validation.collapsed(first, config.bottleneck, sizes)
        elif config.pca_start:
            scale = float(state.collections["constants"]["scale"])
            lines = validation.not_pca(
                result.feature_rmse, self._pca_rmse, scale, config.bottleneck
            )
        for line in lines:
            self._experiment.warn_once(line)


class Clock:
    """Measures steps per second, and the fraction of time spent waiting for data."""

    def __init__(self) -> None:
        self._last: tuple[int, dict[str, float]] = (-1, {})
        self.reset()

    def reset(self) -> None:
        """Restarts at zero."""
        self._start, self._waited, self._steps = time.perf_counter(), 0.0, 0

    def timed(self, batches: Iterator[Any]) -> Iterator[Any]:
        """``batches`` with measured waiting times."""
        while True:
            start = time.perf_counter()
            batch = next(batches)
            self._waited += time.perf_counter() - start
            self._steps += 1
            yield batch

    def read(self, step: int) -> dict[str, float]:
        """Rates since the last step that was read; cached for the same step."""
        if self._last[0] != step:
            elapsed = time.perf_counter() - self._start
            scalars = {
                "time/steps_per_second": self._steps / elapsed,
                "time/data_wait_fraction": self._waited / elapsed,
            }
            self._last = step, scalars
            self.reset()
        return self._last[1]
