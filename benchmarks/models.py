"""The train step of every experiment; and, of four of them, against a PyTorch twin.

    pip install -e '.[bench]' && python benchmarks/models.py
    python benchmarks/models.py --experiments mel_conv mel_lstm --rounds 30

First a table: parameters, milliseconds a step, what the compiled step takes of memory (from its
own analysis), how long it took to compile, from a cold start, and the floating-point operations a
second by XLA's count, which recurrent networks have none of. Then the twins (twins.py): same
layers, weights, batch and transforms, learning from the mean square of the features. Before
anything is timed aejax's weights are copied and both must give the same reconstruction; then both
run in turns, and medians of the ratios of each turn are printed, for PyTorch eager and compiled
(`torch.compile`). Above 1 aejax is faster. With a CUDA device both run on it. The change of speed,
which the twins do not have, is off for that.
"""

import argparse
import dataclasses
import pathlib
import runpy
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import twins

from aejax import augmentations, objective, representations
from aejax.models import autoencoder
from aejax.runtime.malloc import keep_freed
from aejax.training import state as states
from aejax.training.step import make_train_step

EXPERIMENTS = pathlib.Path(__file__).parents[1] / "experiments"
NAMES = [path.stem for path in sorted(EXPERIMENTS.glob("*_*.py"))]
TWINS = ("mel_conv", "mel_lstm", "mel_transformer", "wave_conv")


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


def build(config):
    """aejax's step as a run compiles it, on noise."""
    representation = representations.from_config(config)
    dtype = jnp.dtype(config.train.dtype)
    model = autoencoder.from_config(config.model, representation.bins, dtype)
    tx = states.make_optimizer(config.train, pca_start=config.model.pca_start)
    mean, scale = np.full(representation.bins, -40.0), np.asarray(15.0)
    if representation.exact:
        mean, scale = np.zeros(representation.bins), np.asarray(0.1)
    downsampling = config.model.downsampling
    variables = autoencoder.init(model, jax.random.key(0), downsampling)
    variables = autoencoder.standardise(variables, mean, scale)
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
    begin = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    seconds = time.perf_counter() - begin
    memory = compiled.memory_analysis()
    # XLA counts what is in a loop once, however often it turns.
    looped = config.model.encoder in ("lstm", "gru")

    def run(steps):
        nonlocal state
        for _ in range(steps):
            state, metrics = compiled(state, jax.device_put(batch))
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
        flops=None if looped else compiled.cost_analysis()["flops"],
    )


def build_torch(config, twin, audio, length, compiled):
    module = torch.compile(twin) if compiled else twin
    decay, plain = [], []
    for name, p in twin.named_parameters():
        (decay if p.ndim > 1 and ".linear." not in name else plain).append(p)
    make_optimizer = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": config.train.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=1e-4,
        betas=(0.9, config.train.adamw.b2),
        fused=True,
    )

    def run(steps):
        for _ in range(steps):
            make_optimizer.zero_grad(set_to_none=True)
            module(audio, length).backward()
            torch.nn.utils.clip_grad_norm_(twin.parameters(), config.train.clip_norm)
            make_optimizer.step()
        if audio.is_cuda:
            torch.cuda.synchronize()

    begin = time.perf_counter()
    run(1)
    if compiled:
        print(f"  torch.compile: first step after {time.perf_counter() - begin:.1f} s")
    return run


def seconds_per_step(run, steps):
    begin = time.perf_counter()
    run(steps)
    return (time.perf_counter() - begin) / steps


def measure(name, rounds):
    """One row of the table."""
    config = load(name)
    step = build(config)
    step.run(2)
    seconds = statistics.median(seconds_per_step(step.run, 1) for _ in range(rounds))
    cells = [
        name,
        f"{step.parameters:,}",
        f"{1e3 * seconds:.1f}",
        f"{step.memory / 2**20:,.0f}",
        f"{step.compile_seconds:.1f}",
        f"{step.flops / seconds / 1e9:,.0f}" if step.flops else "",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def compare(name, rounds, steps):
    """aejax and its twin, in turns."""
    print(f"{name}:", flush=True)
    config = load(name)
    config.augment.speed.range = (1.0, 1.0)
    for loss, options in config.loss.items():
        options.weight = float(loss == "l2")
    step = build(config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    twin = twins.Twin(config, step.bins, step.mean, step.scale)
    twins.copy_weights(step.params["encoder"], twin.encoder)
    twins.copy_weights(step.params["decoder"], twin.decoder)
    twin.to(device)
    audio = torch.tensor(step.batch["audio"], device=device)
    length = torch.tensor(step.batch["length"], device=device)
    twin.eval()
    with torch.no_grad():
        theirs = twin.reconstruct(twin.analyse(audio)).cpu().numpy()
    ours = np.asarray(step.reconstruct(step.batch["audio"]))
    apart = float(np.abs(ours - theirs).max() / step.scale)
    print(f"  same weights, same audio: reconstructions are {apart:.1e} deviations apart at most")
    if apart > 5e-3:
        raise SystemExit("the twin is not the same model")
    twin.train()
    peers = {
        "eager": build_torch(config, twin, audio, length, compiled=False),
        "compiled": build_torch(config, twin, audio, length, compiled=True),
    }
    times = {"aejax": [], **{peer: [] for peer in peers}}
    for run in (step.run, *peers.values()):
        run(3)
    for _ in range(rounds):
        for peer, run in (("aejax", step.run), *peers.items()):
            times[peer].append(seconds_per_step(run, steps))
    for peer, values in times.items():
        print(f"  {peer:<10} median {1e3 * statistics.median(values):7.2f} ms a step")
    for peer in peers:
        ratios = [b / a for a, b in zip(times["aejax"], times[peer], strict=True)]
        low, middle, high = np.percentile(ratios, [10, 50, 90])
        print(f"  torch {peer} / aejax: median {middle:.2f} (10 to 90 %: {low:.2f} to {high:.2f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=5, help="in a row, in each round")
    parser.add_argument("--twins_only", action="store_true", help="without the table")
    options = parser.parse_args()
    keep_freed()  # as a run does, and for PyTorch too
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}; torch {torch.__version__}\n")
    if not options.twins_only:
        head = ["", "parameters", "ms a step", "memory (MB)", "compile (s)", "GFLOP/s"]
        print("| " + " | ".join(head) + " |")
        print("|" + "---|" * len(head))
        for name in options.experiments:
            measure(name, options.rounds)
        print()
    for name in TWINS:
        if name in options.experiments:
            compare(name, options.rounds, options.steps)


if __name__ == "__main__":
    main()
