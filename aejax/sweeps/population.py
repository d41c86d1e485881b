"""Trains several experiments together, with one compiled step and on the same batches.

Models with fewer latents are padded with zeros to the largest, and saved without the padding; each
is trained exactly as it would be alone.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from aejax.evaluation.audio_examples import preview
from aejax.experiment import begin
from aejax.prepare import Experiment, prepare
from aejax.results import Common, Results, evaluate, print_results, write_report
from aejax.runtime import words
from aejax.runtime.devices import free_memory
from aejax.runtime.errors import Interrupted, UserError, printable
from aejax.runtime.parallel import concurrent_calls
from aejax.runtime.progress import warn
from aejax.sweeps import members
from aejax.sweeps.population_steps import Population, Sequential, Vmapped, vmapped
from aejax.training import checkpoint
from aejax.training.baselines import Baselines, fit_pca
from aejax.training.compile import compiled_for, step_bytes, step_of
from aejax.training.loop import Trained, run_steps, step_bar
from aejax.training.recorder import Clock, Recorder, eval_step_of
from aejax.training.start import first_snapshot, snapshot_shapes


class Job(NamedTuple):
    """A run to train.

    Attributes:
      config: of the experiment, with all keys (see `aejax.config.default`).
      path: of the run's directory.
      command: command line that repeats the run, for the report.
    """

    config: ConfigDict
    path: Path
    command: str


def run_together(jobs: Sequence[Job]) -> list[Results | UserError]:
    """Trains runs as one population; returns the results or the error of each.

    If a run fails, the others continue. Each run is the same as with `aejax.experiment.run`.

    Args:
      jobs: with valid configs that have the same `aejax.sweeps.members.compiled_config`.

    Raises:
      ValueError: the configs need several compiled programs.
      Interrupted: a signal asked to stop; all runs are saved.
    """
    configs = [members.compiled_config(job.config) for job in jobs]
    if any(config != configs[0] for config in configs):
        raise ValueError("these configs need different compiled programs")
    ended: dict[int, Results | UserError] = {}
    with contextlib.ExitStack() as stack:
        experiments: dict[int, Experiment] = {}
        for index, job in enumerate(jobs):
            with _collect_errors(ended, index):
                directory = begin(job.config, job.path)
                if directory.has("results.json"):
                    print("this run is finished; its results again:")
                    ended[index] = print_results(directory.path)
                    continue
                stack.callback(directory.release)
                prepared = next(iter(experiments.values()), None)
                experiment = prepare(directory.config, directory, prepared, command=job.command)
                for line in checkpoint.set_damaged_aside(directory.path / "checkpoints"):
                    warn(line)
                experiments[index] = experiment
        while experiments:
            group = _next_group(experiments)
            ended |= _train_and_evaluate(group)
            experiments = {index: x for index, x in experiments.items() if index not in group}
    return [ended[index] for index in range(len(jobs))]


@contextlib.contextmanager
def _collect_errors(ended: dict[int, Results | UserError], index: int) -> Iterator[None]:
    """Stores the `UserError` of one run; lets `Interrupted` end all runs."""
    try:
        yield
    except Interrupted:
        raise
    except UserError as error:
        ended[index] = error


def _next_group(experiments: Mapping[int, Experiment]) -> dict[int, Experiment]:
    """Experiments that can be trained together: on the same clips, from checkpoints of one step.

    That step is the newest of the experiment with the most training left."""
    steps = {index: _saved_steps(experiment) for index, experiment in experiments.items()}
    slowest = min(experiments, key=lambda index: max(steps[index], default=-1))
    first, newest = experiments[slowest], max(steps[slowest], default=None)
    return {
        index: experiment
        for index, experiment in experiments.items()
        if experiment.corpus is first.corpus
        and experiment.noise is first.noise
        and (not steps[index] if newest is None else newest in steps[index])
    }


def _saved_steps(experiment: Experiment) -> set[int]:
    """The steps of all checkpoints."""
    return set(checkpoint.steps(experiment.workdir.path / "checkpoints"))


class _Member(NamedTuple):
    """An experiment with its baselines, to be trained."""

    experiment: Experiment
    baselines: Baselines

    @property
    def latent_dim(self) -> int:
        return self.experiment.config.model.latent_dim


def _train_and_evaluate(group: Mapping[int, Experiment]) -> dict[int, Results | UserError]:
    """The results or error of each experiment of a group."""
    ended: dict[int, Results | UserError] = {}
    ready: dict[int, _Member] = {}
    # Most latents first: the PCA of fewer latents is a part of it.
    for index in sorted(group, key=lambda index: -group[index].config.model.latent_dim):
        with _collect_errors(ended, index):
            fitted = list(ready.values())
            latent_dim = group[index].config.model.latent_dim
            same = next((x.baselines for x in fitted if x.latent_dim == latent_dim), None)
            larger = fitted[0].baselines if fitted else None
            ready[index] = _Member(group[index], fit_pca(group[index], larger, same))
    common: Common = {}
    trained = _train(list(ready.values()))
    for index, (experiment, baselines) in ready.items():
        try:
            result = next(trained)
        except Interrupted:
            raise
        except UserError as error:  # of all members that are not trained yet
            return dict.fromkeys(ready, error) | ended
        with _collect_errors(ended, index):
            if isinstance(result, UserError):
                raise result
            results = evaluate(experiment, baselines, result, common)
            write_report(experiment, results)
            ended[index] = results
            if len(group) == 1:
                print_results(experiment.workdir.path)
            else:
                print(f"finished: {printable(str(experiment.workdir.path))}", flush=True)
    return ended


def _train(ready: Sequence[_Member]) -> Iterator[Trained | UserError]:
    """Yields the trained model of each member, or its error.

    As many members as fit in memory are trained together, from the newest checkpoint step that all
    of them have; then the next ones.
    """
    if not ready:
        return
    # All members are padded to its shapes.
    widest = max(ready, key=lambda member: member.latent_dim).experiment
    validate = eval_step_of(widest, widest.model)
    compiled, rest = None, list(ready)
    while rest:
        compiled = _compile(widest, len(rest), compiled)
        together, rest = rest[: compiled.capacity], rest[compiled.capacity :]
        trained = _train_at_once(together, widest, validate, compiled.population)
        while trained:
            yield trained.pop(0)


class _AllFailed(Exception):
    """All members have failed."""


@dataclasses.dataclass
class _Observers:
    """An `aejax.training.loop.Observer` that calls the recorders of all members."""

    population: Population
    recorders: list[Recorder]
    progress: Any
    errors: dict[int, UserError] = dataclasses.field(default_factory=dict)

    def _active(self) -> list[int]:
        return [index for index in range(len(self.recorders)) if index not in self.errors]

    def metrics(self, step: int, metrics: Any, clips: np.ndarray) -> None:
        """Records the metrics of all members; a member with non-finite metrics fails."""
        fetched = self.population.metrics(jax.device_get(metrics))
        for index in self._active():
            try:
                self.recorders[index].metrics(step, fetched[index], clips)
            except Interrupted:
                raise
            except UserError as error:
                self.errors[index] = error
                self.population.stop(index)
        if not self._active():
            raise _AllFailed
        self.progress.update()

    def validate(self, step: int, state: Any) -> None:
        """Validates all members that have not failed."""
        for index in self._active():
            self.recorders[index].validate(step, self.population.state(state, index))

    def save(self, step: int, state: Any) -> None:
        """Saves all members that have not failed."""
        for index in self._active():
            self.recorders[index].save(step, self.population.state(state, index))


def _train_at_once(
    ready: Sequence[_Member], widest: Experiment, validate: Any, population: Population
) -> list[Trained | UserError]:
    """The trained models or errors of members that fit in memory, all padded to the widest."""
    options, shapes = widest.config.train, snapshot_shapes(widest)
    saved = set.intersection(*(_saved_steps(member.experiment) for member in ready))
    after = max(saved, default=None)
    first, clock = after or 0, Clock()
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(step_bar(first, options.steps))
        recorders, states = [], []
        for experiment, baselines in ready:
            own = snapshot_shapes(experiment)
            if after is None:
                snapshot = first_snapshot(experiment, baselines.fit)
            else:
                directory = experiment.workdir.path / "checkpoints"
                snapshot = checkpoint.read(directory, after, own, experiment.devices.copy)
            snapshot = members.pad_to(snapshot, shapes)
            states.append(snapshot.state)
            recorders.append(
                Recorder(
                    stack,
                    experiment,
                    baselines,
                    snapshot.best,
                    first=first,
                    clock=clock,
                    eval_step=validate,
                    show=preview(experiment, widest.model),
                    model=widest.model,
                    as_saved=functools.partial(members.unpad, like=own),
                )
            )
        observers = _Observers(population, recorders, progress)
        joined = population.join(states)
        states.clear()
        with contextlib.suppress(_AllFailed):
            run_steps(
                joined,
                population,
                clock.timed(widest.train_batches(first)),
                observers,
                first=first,
                steps=options.steps,
                validate_every=options.validate_every,
                device_put=widest.device_put,
            )
    return [
        observers.errors.get(index) or Trained(widest.model, recorder.best)
        for index, recorder in enumerate(recorders)
    ]


class _Compiled(NamedTuple):
    """A compiled step of a population, and the number of members that fit in memory."""

    population: Population
    capacity: int


_USABLE = 0.8  # fraction of the free memory for members; the rest of a run needs memory too


def _compile(widest: Experiment, count: int, earlier: _Compiled | None) -> _Compiled:
    """Compiles the train step for as many members as fit in memory; prints how many.

    Args:
      widest: the member with the most latents.
      count: number of members to train.
      earlier: a step compiled for more members, reused if possible.
    """
    if earlier is not None and (count >= earlier.capacity or not at_once()):
        return earlier._replace(capacity=min(count, earlier.capacity))
    begin, snapshot = time.perf_counter(), snapshot_shapes(widest)
    step = step_of(widest)
    free = free_memory()
    each = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(snapshot))
    room = wanted = count
    compiled = memory = None
    # With vmap, fewer members need another program, and its memory is not proportional.
    while compiled is None or (room < wanted and at_once()):
        wanted = room
        is_vmapped = wanted > 1 and at_once()
        state = members.repeated(snapshot.state, wanted) if is_vmapped else snapshot.state
        compiled = compiled_for(widest, vmapped(step) if is_vmapped else step, state)
        memory = step_bytes(compiled)
        if free is not None and memory is not None:
            room = _room(free, memory, each, wanted)
    size = sum(x.size for x in jax.tree.leaves(snapshot.state.params))
    more = f" ({count - room} more follow: {free / 1e6:,.0f} MB are free)" if free else ""
    models = f"{words.count(room, 'model')} of up to " if count > 1 else ""
    print(
        f"compiled the step in {time.perf_counter() - begin:.1f} s; {models}{size:,} parameters"
        f"{'' if count == 1 else ', trained all at once' if is_vmapped else ', trained in turn'}"
        f"{more if room < count else ''}"
        f"{'' if memory is None else f'; {memory / 1e6:,.0f} MB'}"
    )
    return _Compiled(Vmapped(compiled) if is_vmapped else Sequential(compiled), room)


def _room(free: int, memory: int, each: int, count: int) -> int:
    """The number of members, at least 1, that fit in memory together.

    Args:
      free: bytes of free memory.
      memory: bytes of the compiled step; with vmap, for all members together.
      each: bytes of the training state and the best variables of a member.
      count: members wanted.
    """
    step = memory / count if at_once() else 0
    shared = 0 if at_once() else concurrent_calls() * memory
    return min(count, max(1, int((_USABLE * free - shared) / (step + each))))


def at_once() -> bool:
    """Whether to step all members at once by ``vmap``, instead of in turn.

    In turn is faster on a CPU: one model keeps it busy, and its convolutions with several sets of
    weights are slow."""
    return jax.default_backend() != "cpu"
