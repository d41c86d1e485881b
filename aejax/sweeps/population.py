"""Several experiments trained as one: by one compiled step, on the same batches.

Members of fewer latents are padded by zeros to the size of the largest, and what is saved of them
is cut to their own: each is what it would have become alone.
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
    """A run that is wanted.

    Attributes:
      config: of the experiment, all of it (see `aejax.config.default`).
      path: of the run's directory.
      command: that repeats the run, as the report has it.
    """

    config: ConfigDict
    path: Path
    command: str


def run_together(jobs: Sequence[Job]) -> list[Results | UserError]:
    """Runs that are trained as one population, each as `aejax.experiment.run` would alone, in a
    directory of its own.

    Args:
      jobs: of valid configs that have in common what `aejax.sweeps.members.shared` says.

    Returns:
      The results of each, or its error; the other runs continue.

    Raises:
      ValueError: they are no population.
      Interrupted: asked to stop; all have been saved.
    """
    if any(members.shared(job.config) != members.shared(jobs[0].config) for job in jobs):
        raise ValueError("these configs differ in what is compiled")
    ended: dict[int, Results | UserError] = {}
    with contextlib.ExitStack() as held:
        begun: dict[int, Experiment] = {}
        for index, job in enumerate(jobs):
            with _collect_errors(ended, index):
                directory = begin(job.config, job.path)
                if directory.has("results.json"):
                    print("this run is finished; its results again:")
                    ended[index] = print_results(directory.path)
                    continue
                held.callback(directory.release)
                first = next(iter(begun.values()), None)
                experiment = prepare(directory.config, directory, first, command=job.command)
                for line in checkpoint.set_damaged_aside(directory.path / "checkpoints"):
                    warn(line)
                begun[index] = experiment
        while begun:
            group = _next_group(begun)
            ended |= _train_and_evaluate(group)
            begun = {index: one for index, one in begun.items() if index not in group}
    return [ended[index] for index in range(len(jobs))]


@contextlib.contextmanager
def _collect_errors(ended: dict[int, Results | UserError], index: int) -> Iterator[None]:
    """An error ends one of the runs alone; being asked to stop ends them all."""
    try:
        yield
    except Interrupted:
        raise
    except UserError as error:
        ended[index] = error


def _next_group(begun: Mapping[int, Experiment]) -> dict[int, Experiment]:
    """Those that can be trained together: on the same clips, from a checkpoint of one step, the
    earliest first."""
    steps = {index: _saved(one) for index, one in begun.items()}
    lead = min(begun, key=lambda index: max(steps[index], default=-1))
    first, newest = begun[lead], max(steps[lead], default=None)
    return {
        index: one
        for index, one in begun.items()
        if one.corpus is first.corpus
        and one.noise is first.noise
        and (not steps[index] if newest is None else newest in steps[index])
    }


def _saved(experiment: Experiment) -> set[int]:
    """Steps that there are checkpoints of."""
    return set(checkpoint.steps(experiment.workdir.path / "checkpoints"))


class _Member(NamedTuple):
    """An experiment that is ready to be trained."""

    experiment: Experiment
    baselines: Baselines

    @property
    def latent_dim(self) -> int:
        return self.experiment.config.model.latent_dim


def _train_and_evaluate(group: Mapping[int, Experiment]) -> dict[int, Results | UserError]:
    """What becomes of each, by its key."""
    ended: dict[int, Results | UserError] = {}
    ready: dict[int, _Member] = {}
    # The one of most latents first: its PCA has those of the others in it.
    for index in sorted(group, key=lambda index: -group[index].config.model.latent_dim):
        with _collect_errors(ended, index):
            before = list(ready.values())
            latent_dim = group[index].config.model.latent_dim
            same = next((one.baselines for one in before if one.latent_dim == latent_dim), None)
            larger = before[0].baselines if before else None
            ready[index] = _Member(group[index], fit_pca(group[index], larger, same))
    common: Common = {}
    trained = _train(list(ready.values()))
    for index, (experiment, baselines) in ready.items():
        try:
            one = next(trained)
        except Interrupted:
            raise
        except UserError as error:  # of all that were still to be trained
            return dict.fromkeys(ready, error) | ended
        with _collect_errors(ended, index):
            if isinstance(one, UserError):
                raise one
            results = evaluate(experiment, baselines, one, common)
            write_report(experiment, results)
            ended[index] = results
            if len(group) == 1:
                print_results(experiment.workdir.path)
            else:
                print(f"finished: {printable(str(experiment.workdir.path))}", flush=True)
    return ended


def _train(ready: Sequence[_Member]) -> Iterator[Trained | UserError]:
    """Trains to the last step, from the newest checkpoint that all have, as many at a time as there
    is room for; the next ones once what came of the last is taken. Yields what each became, or the
    error that ended it."""
    if not ready:
        return
    # The one of most latents lends the others its shapes.
    widest = max(ready, key=lambda member: member.latent_dim).experiment
    validate = eval_step_of(widest, widest.model)
    compiled, rest = None, list(ready)
    while rest:
        compiled = _compile(widest, len(rest), compiled)
        now, rest = rest[: compiled.room], rest[compiled.room :]
        trained = _train_at_once(now, widest, validate, compiled.population)
        while trained:
            yield trained.pop(0)


class _NoneLeft(Exception):
    """All members have failed."""


@dataclasses.dataclass
class _Observers:
    """Those of the members; see `aejax.training.loop.Observer`."""

    population: Population
    recorders: list[Recorder]
    progress: Any
    errors: dict[int, UserError] = dataclasses.field(default_factory=dict)

    def _active(self) -> list[int]:
        return [index for index in range(len(self.recorders)) if index not in self.errors]

    def metrics(self, step: int, metrics: Any, clips: np.ndarray) -> None:
        """Takes the metrics of all; a member whose metrics are not finite has failed."""
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
            raise _NoneLeft
        self.progress.update()

    def validate(self, step: int, state: Any) -> None:
        """Validates all that are left."""
        for index in self._active():
            self.recorders[index].validate(step, self.population.state(state, index))

    def save(self, step: int, state: Any) -> None:
        """Saves all that are left."""
        for index in self._active():
            self.recorders[index].save(step, self.population.state(state, index))


def _train_at_once(
    ready: Sequence[_Member], widest: Experiment, validate: Any, population: Population
) -> list[Trained | UserError]:
    """Trains those that there is room for, in the shapes of the widest."""
    options, shapes = widest.config.train, snapshot_shapes(widest)
    after = max(set.intersection(*(_saved(one.experiment) for one in ready)), default=None)
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
                snapshot = checkpoint.read(directory, after, own, experiment.devices.copied)
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
                    validate=validate,
                    show=preview(experiment, widest.model),
                    model=widest.model,
                    as_saved=functools.partial(members.unpad, like=own),
                )
            )
        observers = _Observers(population, recorders, progress)
        joined = population.join(states)
        states.clear()
        with contextlib.suppress(_NoneLeft):
            run_steps(
                joined,
                population,
                clock.timed(widest.train_batches(first)),
                observers,
                first=first,
                steps=options.steps,
                validate_every=options.validate_every,
                place=widest.place,
            )
    return [
        observers.errors.get(index) or Trained(widest.model, recorder.best)
        for index, recorder in enumerate(recorders)
    ]


class _Compiled(NamedTuple):
    """A compiled step of a population, and how many members it has room for at a time."""

    population: Population
    room: int


# Of the memory that is free, for what else a run needs.
_USABLE = 0.8


def _compile(widest: Experiment, count: int, earlier: _Compiled | None) -> _Compiled:
    """Compiles the train step for as many members at a time as memory allows, and says so.

    Args:
      widest: of the members.
      count: members to be trained.
      earlier: what was compiled for more members; it is used again where that can be.
    """
    if earlier is not None and (count >= earlier.room or not at_once()):
        return earlier._replace(room=min(count, earlier.room))
    begin, snapshot = time.perf_counter(), snapshot_shapes(widest)
    step = step_of(widest)
    free = free_memory()
    each = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(snapshot))
    room = wanted = count
    compiled = memory = None
    # All at once, fewer members are another program, which may take other than its share.
    while compiled is None or (room < wanted and at_once()):
        wanted = room
        is_vmapped = wanted > 1 and at_once()
        state = members.repeated(snapshot.state, wanted) if is_vmapped else snapshot.state
        compiled = compiled_for(widest, vmapped(step) if is_vmapped else step, state)
        memory = step_bytes(compiled)
        if free is not None and memory is not None:
            room = _room(free, memory, each, wanted)
    size = sum(x.size for x in jax.tree.leaves(snapshot.state.params))
    more = f" ({count - room} more come after them: {free / 1e6:,.0f} MB are free)" if free else ""
    what = f"{room} models of up to {size:,} parameters" if count > 1 else f"{size:,} parameters"
    print(
        f"compiled the step in {time.perf_counter() - begin:.1f} s; {what}"
        f"{'' if count == 1 else ', trained all at once' if is_vmapped else ', trained in turn'}"
        f"{more if room < count else ''}"
        f"{'' if memory is None else f'; {memory / 1e6:,.0f} MB'}"
    )
    return _Compiled(Vmapped(compiled) if is_vmapped else Sequential(compiled), room)


def _room(free: int, memory: int, each: int, count: int) -> int:
    """Members at a time in free memory, of a step that takes so many bytes, for all of them where
    they take it at once, and so many more for each."""
    step = memory / count if at_once() else 0
    shared = 0 if at_once() else concurrent_calls() * memory
    return min(count, max(1, int((_USABLE * free - shared) / (step + each))))


def at_once() -> bool:
    """Whether members take their steps all at once, by ``vmap``, or in turn: a CPU is kept busy by
    one, and its convolutions of several sets of weights at once are slower."""
    return jax.default_backend() != "cpu"
