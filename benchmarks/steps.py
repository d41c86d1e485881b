"""Compiled train steps of experiments on noise, to be timed."""

import dataclasses
import pathlib
import runpy
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax import augmentations, objective, representations
from aejax.models import autoencoder
from aejax.sweeps.population_steps import stacked, vmapped
from aejax.training import state as states
from aejax.training.step import make_train_step

EXPERIMENTS = pathlib.Path(__file__).parents[1] / "experiments"
NAMES = [path.stem for path in sorted(EXPERIMENTS.glob("*_*.py"))]
NAMES.remove("own_parts")  # it shows how parts are made


@dataclasses.dataclass
class Step:
    """A compiled train step, and what to run it on."""

    run: Callable[[int], None]
    reconstruct: Callable[[Any], Any]
    params: Any
    batch: dict[str, np.ndarray]
    mean: np.ndarray
    scale: np.ndarray
    bins: int
    compile_seconds: float
    memory: int
    flops: float | None

    @property
    def parameters(self) -> int:
        return sum(x.size for x in jax.tree.leaves(self.params))


def load(name):
    return runpy.run_path(str(EXPERIMENTS / f"{name}.py"))["get_config"]()


def build(config, members=0):
    """aejax's step as a run compiles it, on noise; with members, that of a population."""
    representation = representations.from_config(config)
    dtype = jnp.dtype(config.train.dtype)
    model = autoencoder.from_config(config.model, representation.bins, dtype)
    tx = states.make_optimizer(config.train, pca_start=config.model.pca_start)
    mean, scale = np.full(representation.bins, -40.0), np.asarray(15.0)
    if representation.exact:
        mean, scale = np.zeros(representation.bins), np.asarray(0.1)
    downsampling = config.model.downsampling
    variables = autoencoder.init(model, jax.random.key(0), downsampling)
    variables = autoencoder.with_statistics(variables, mean, scale)
    latent_frames = int(config.data.excerpt_seconds * representation.frame_rate / downsampling)
    samples = representation.samples(latent_frames * downsampling)
    augmentation = augmentations.from_config(config, samples)
    learnt = objective.from_config(config, representation)
    step = make_train_step(
        representation,
        model,
        tx,
        learnt,
        samples=samples,
        downsampling=downsampling,
        augmentation=augmentation,
        ema_decay=config.train.ema_decay,
    )
    rows = config.train.batch_size
    rng = np.random.default_rng(0)
    span = augmentation.span(samples)
    batch = {
        "audio": (0.1 * rng.standard_normal((rows, span))).astype(np.float32),
        "length": np.full(rows, span, np.int32),
        "position": np.zeros(rows, np.float32),
    }
    params = jax.device_get(variables["params"])  # the state itself is given away
    state = states.create(variables, tx, jax.random.key(1), learnt.weights)
    if members:
        state, step = stacked([state] * members), vmapped(step)
    begin = time.perf_counter()
    lowered = jax.jit(step, donate_argnums=0).lower(state, batch)
    compiled = lowered.compile()
    seconds = time.perf_counter() - begin
    memory = compiled.memory_analysis()
    placed = jax.device_put(batch)
    # XLA counts what is in a loop once, however often it turns; and of what it has compiled for a
    # GPU, nothing that cuBLAS and cuDNN do.
    looped = config.model.encoder in ("lstm", "gru")

    def run(steps):
        nonlocal state
        for _ in range(steps):
            state, metrics = compiled(state, placed)
        jax.block_until_ready((state, metrics))

    def reconstruct(audio):
        features = representation.analyse(audio)
        frames = features.shape[1] // downsampling * downsampling
        given = {**variables, "params": params}
        latents = autoencoder.encode(model, given, features[:, :frames])
        return autoencoder.decode(model, given, latents)

    return Step(
        run=run,
        reconstruct=reconstruct,
        params=params,
        batch=batch,
        mean=mean,
        scale=scale,
        bins=representation.bins,
        compile_seconds=seconds,
        memory=memory.argument_size_in_bytes + memory.temp_size_in_bytes,
        flops=None if looped else lowered.cost_analysis()["flops"],
    )


def seconds_per_step(run, steps):
    begin = time.perf_counter()
    run(steps)
    return (time.perf_counter() - begin) / steps
