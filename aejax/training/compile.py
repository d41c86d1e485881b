"""Compiles the training step for the run's devices."""

import time
from collections.abc import Callable
from typing import Any

import jax

from aejax.models.bottlenecks import VectorQuantizer
from aejax.prepare import Experiment
from aejax.runtime import compilation
from aejax.training import checkpoint, state
from aejax.training.step import TrainStep, make_train_step


def compile_step(experiment: Experiment, snapshot: checkpoint.Snapshot) -> jax.stages.Compiled:
    """The compiled step of an experiment; prints the time that compilation took.

    Args:
      experiment: to train.
      snapshot: a snapshot of the run, or its shapes.
    """
    begin = time.perf_counter()
    compiled = compiled_for(experiment, step_of(experiment), snapshot.state)
    size = sum(x.size for x in jax.tree.leaves(snapshot.state.params))
    memory = step_bytes(compiled)
    suffix = "" if memory is None else f", {memory / 1e6:,.0f} MB"
    seconds = time.perf_counter() - begin
    print(f"compiled the step in {seconds:.1f} s; {size:,} parameters{suffix}")
    if line := experiment.devices.describe_state(snapshot.state):
        print(line)
    return compiled


def step_of(experiment: Experiment) -> TrainStep:
    """The step of an experiment, as a pure function."""
    config, model = experiment.config, experiment.model
    if isinstance(model.bottleneck, VectorQuantizer):
        # With this decay, codebooks move as far per update as with one large batch.
        decay = model.bottleneck.decay ** (1 / config.train.grad_accum_steps)
        model = model.clone(bottleneck=model.bottleneck.clone(decay=decay))
    return make_train_step(
        experiment.representation,
        model,
        state.make_optimizer(config.train, pca_start=config.model.pca_start),
        experiment.objective,
        samples=experiment.excerpt,
        downsampling=experiment.downsampling,
        augmentation=experiment.augmentation,
        ema_decay=config.train.ema_decay,
    )


def compiled_for(
    experiment: Experiment, step: Callable[..., Any], first: Any
) -> jax.stages.Compiled:
    """A step compiled for states with the shapes of ``first``; it takes donated states."""
    batch = experiment.with_speakers(experiment.silent_batch())
    return compilation.compiled(experiment.devices.lower(step, first, batch), "the step")


def step_bytes(compiled: jax.stages.Compiled) -> int | None:
    """Memory in bytes of a compiled step, its state and its batch; None if unknown."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    return analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
