"""A trace of a few training steps, for TensorBoard or Perfetto."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from aejax.runtime import files, words
from aejax.runtime.errors import UserError, printable

# Steps before the trace: the first ones wait for data and memory.
_WARMUP = 3
FOLDER = "profile"


class Profiled:
    """A training step that traces some of its calls, after the first few.

    Args:
      train_step: compiled.
      path: folder for the trace.
      steps: number of calls to trace.
    """

    def __init__(self, train_step: Callable[[Any, Any], Any], path: Path, steps: int):
        self._train_step, self._path, self._steps = train_step, path, steps
        self._calls, self._is_on = 0, False

    def __call__(self, state: Any, batch: Any) -> Any:
        """Calls the step."""
        if self._calls == _WARMUP:
            jax.block_until_ready(state)
            with files.explain_full_disk(self._path):
                jax.profiler.start_trace(str(self._path), create_perfetto_trace=True)
            self._is_on = True
        number = self._calls
        self._calls += 1
        if not self._is_on:
            return self._train_step(state, batch)
        with jax.profiler.StepTraceAnnotation("train_step", step_num=number):
            result = self._train_step(state, batch)
            if self._calls == _WARMUP + self._steps:
                jax.block_until_ready(result)
        if self._calls == _WARMUP + self._steps:
            self.stop()
        return result

    def stop(self) -> None:
        """Writes the trace, and prints how to look at it; does nothing if there is none."""
        if not self._is_on:
            return
        self._is_on = False
        with files.explain_full_disk(self._path):
            jax.profiler.stop_trace()
        shown = printable(str(self._path))
        print(
            f"profile of {words.count(self._calls - _WARMUP, 'step')}: {shown}; look at it by"
            f" tensorboard --logdir={shown} (pip install tensorboard xprof), or open its"
            " perfetto_trace.json.gz at https://ui.perfetto.dev",
            flush=True,
        )


def check(steps: int, left: int) -> None:
    """Checks that enough steps are left to trace.

    Args:
      steps: number of steps to trace; 0 for none.
      left: number of steps left to train.

    Raises:
      UserError: there are too few.
    """
    if steps and left < steps + _WARMUP:
        raise UserError(
            f"--profile={steps} needs {words.count(steps + _WARMUP, 'step')}, as the first"
            f" {_WARMUP} are not traced, and {left} are left to train; raise train.steps"
        )


@contextlib.contextmanager
def profiled(
    train_step: Callable[[Any, Any], Any], workdir: Path, steps: int
) -> Iterator[Callable[[Any, Any], Any]]:
    """The step, with a trace of ``steps`` calls in the run's directory; 0 for none."""
    if not steps:
        yield train_step
        return
    wrapped = Profiled(train_step, workdir / FOLDER, steps)
    try:
        yield wrapped
    finally:
        wrapped.stop()
