"""The plan of a run: shapes at every stage, memory, FLOPs and time; nothing is trained."""

import time
from collections.abc import Iterator

import jax
import numpy as np

from aejax.augmentations import Example
from aejax.models import autoencoder
from aejax.prepare import Experiment
from aejax.representations import analyse_blocks
from aejax.runtime.words import count, duration
from aejax.training.compile import compile_step, step_bytes
from aejax.training.start import snapshot_shapes
from aejax.training.state import TrainState

_TIMED_STEPS = 3


def describe(experiment: Experiment, runs: int = 1) -> Iterator[str]:
    """Lines about the training of an experiment, after compiling its step.

    Args:
      experiment: opened, not necessarily created.
      runs: number of runs that are trained by the same step.
    """
    options, state = experiment.config.train, snapshot_shapes(experiment).state
    excerpt = experiment.excerpt / experiment.corpus.sample_rate
    yield (
        f"{count(options.steps, 'step')} of {count(options.batch_size, 'excerpt')} of"
        f" {excerpt:.3g} s:"
    )
    for name, shape, about in _stages(experiment, state):
        yield f"  {name:<15} {list(shape)}" + (f"  {about}" if about else "")
    compiled = compile_step(experiment, snapshot_shapes(experiment))
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    arrays = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    yield f"  {'update':<15} {parameters:,} parameters; training state of {arrays / 1e6:,.1f} MB"
    memory, flops = step_bytes(compiled), (compiled.cost_analysis() or {}).get("flops")
    if memory is not None:
        yield f"  {'memory':<15} {memory / 1e6:,.0f} MB of state, batch and step, as compiled"
    if flops is not None:
        yield f"  {'FLOPs':<15} {flops / 1e9:,.2f} billion a step, by XLA's cost analysis"
    seconds = seconds_per_step(experiment, compiled, state)
    total = options.steps * seconds * runs
    times = f" x {count(runs, 'run')}" if runs > 1 else ""
    yield (
        f"  {'time':<15} {duration(total)}: {count(options.steps, 'step')} of {seconds:.3g} s"
        f"{times}, timed here on silence; PCA, validation and testing come on top"
    )


def _stages(experiment: Experiment, state: TrainState) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, shape and meaning of each stage of a step, up to the reconstruction."""
    representation, config = experiment.representation, experiment.config
    chain, downsampling = experiment.augmentation, experiment.downsampling

    def forward(variables: autoencoder.Variables, batch: dict[str, jax.Array]) -> list[jax.Array]:
        key, audio = jax.random.key(0), batch["audio"]
        example = Example(audio, audio, batch["length"], batch["position"], batch.get("noise"))
        _, excerpt, length, *_ = chain(key, example, experiment.excerpt)
        features, _, mask = analyse_blocks(representation, excerpt, length, downsampling)
        speaker = batch.get("speaker")
        output = autoencoder.forward(
            experiment.model, variables, features, mask, train=True, key=key, speaker=speaker
        )
        sound = representation.synthesise(output.features)
        return [audio, excerpt, features, output.latents, output.features, sound]

    batch = experiment.with_speakers(experiment.silent_batch())
    shapes = jax.eval_shape(forward, state.variables, batch)
    rate, latent_dim = experiment.latent_rate(1), config.model.latent_dim
    about = {
        "audio": "as it is read: [batch, samples], and channels if stereo",
        "excerpts": "after augmentation",
        "features": f"[batch, frames, bins] of {config.representation.name}",
        "latents": f"{rate:.4g} latent frames/s, {rate * latent_dim:.4g} latent floats/s",
        "reconstruction": "",
        "its audio": "in testing, and for losses of audio",
    }
    stages = zip(about.items(), shapes, strict=True)
    return [(name, shape.shape, meaning) for (name, meaning), shape in stages]


def seconds_per_step(
    experiment: Experiment, compiled: jax.stages.Compiled, state: TrainState
) -> float:
    """Seconds of a compiled step on made-up states and silence, whose results are thrown away."""
    batch = experiment.put_global(experiment.silent_batch())
    # Ones, as zeros would divide by zero.
    values = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), state)
    current, begin = experiment.devices.put_state(values), 0.0
    for number in range(_TIMED_STEPS + 1):
        current, _ = compiled(current, batch)
        if number == 0:  # the first one warms up
            jax.block_until_ready(current)
            begin = time.perf_counter()
    jax.block_until_ready(current)
    return (time.perf_counter() - begin) / _TIMED_STEPS
