"""The train step of every experiment; and, of four of them, against a PyTorch twin.

    pip install -e '.[bench]' && python benchmarks/models.py
    python benchmarks/models.py --experiments mel_conv mel_lstm --rounds 30

First a table: parameters, milliseconds a step, what the compiled step takes of memory (from its
own analysis), how long it took to compile, from a cold start, and the floating-point operations a
second by XLA's count, which recurrent networks have none of. Then the twins (twins.py): same
layers, weights, batch and transforms, learning from the mean square of the features. Before
anything is timed aejax's weights are copied and both must give the same reconstruction; then both
run in turns, and medians of the ratios of each turn are printed, for PyTorch eager and compiled
(`torch.compile`). Above 1 aejax is faster. The change of speed, which the twins do not have, is off
for that. With a CUDA device both run on it; there, products and convolutions in float32 are in TF32
in both, which is JAX's default, but where the reconstructions are compared.
"""

import argparse
import statistics
import time

import jax
import numpy as np
import torch
import twins
from steps import NAMES, build, load, seconds_per_step

from aejax.runtime.malloc import keep_freed

TWINS = ("mel_conv", "mel_lstm", "mel_transformer", "wave_conv")
# Of reconstructions, in deviations of features; the networks of both are in this type.
MOST_APART = {"float32": 5e-3, "bfloat16": 0.2}


def set_precision(*, exact):
    """Float32 on a GPU: in float32 or, not ``exact``, in TF32, for both libraries alike.

    JAX by its default, as "tensorfloat32" asks XLA for float32 where it makes products by Triton;
    PyTorch by the older of its settings, as `torch.compile` refuses the newer.
    """
    jax.config.update("jax_default_matmul_precision", "highest" if exact else "default")
    tf32 = not exact and jax.default_backend() == "gpu"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32


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
        betas=(0.9, config.train.adamw.beta2),
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


def compare(config, rounds, steps):
    """Prints how aejax and its twin compare, in turns; seconds a step of each."""
    dtype = config.train.dtype
    print(f"{config.name}, {dtype}:", flush=True)
    config.augment.speed.range = (1.0, 1.0)
    for loss, options in config.loss.items():
        options.weight = float(loss == "l2")
    set_precision(exact=False)
    step = build(config)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    twin = twins.Twin(config, step.bins, step.mean, step.scale)
    twins.copy_weights(step.params["encoder"], twin.encoder)
    twins.copy_weights(step.params["decoder"], twin.decoder)
    twin.to(device)
    audio = torch.tensor(step.batch["audio"], device=device)
    length = torch.tensor(step.batch["length"], device=device)
    twin.eval()
    set_precision(exact=True)
    with torch.no_grad():
        theirs = twin.reconstruct(twin.analyse(audio)).cpu().numpy()
    ours = np.asarray(step.reconstruct(step.batch["audio"]))
    apart = float(np.abs(ours - theirs).max() / step.scale)
    print(f"  same weights, same audio: reconstructions are {apart:.1e} deviations apart at most")
    if apart > MOST_APART[dtype]:
        raise SystemExit(f"the twin is not the same model: {apart:.1e} deviations apart")
    set_precision(exact=False)
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
    return times


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
            compare(load(name), options.rounds, options.steps)


if __name__ == "__main__":
    main()
