"""A page of what aejax does on this machine's device: see accelerator.py."""

import contextlib
import dataclasses
import importlib.util
import io
import pathlib
import re
import statistics
import subprocess
import sys
import time

import jax
import steps
from runs import Run

from aejax import config as configs

TORCH = importlib.util.find_spec("torch") is not None
HERE = pathlib.Path(__file__).parent
# Peak of dense products by a part of the card's name, in FLOP/s: inputs in bfloat16, and float32 as
# TF32. From NVIDIA's data sheets: nvidia.com/en-us/data-center/{h200,h100,a100,l40s,l4}.
PEAKS = {
    "H200": {"bfloat16": 989e12, "float32": 494e12},
    "H100": {"bfloat16": 989e12, "float32": 494e12},
    "A100": {"bfloat16": 312e12, "float32": 156e12},
    "L40S": {"bfloat16": 362e12, "float32": 183e12},
    "L4": {"bfloat16": 121e12, "float32": 60e12},
}
LARGE = ("model.transformer.width=1024", "model.transformer.depth=4")  # 100M parameters


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured: by default what takes 8 minutes at most on a GPU.

    Attributes:
      experiments: name of the row, experiment, and its keys.
      keys: of all configs.
      members: of the population.
      rounds: of each measurement.
      run: arguments of first_result.py.
    """

    experiments: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        ("mel_conv", "mel_conv", ()),
        ("mel_lstm", "mel_lstm", ()),
        ("mel_transformer", "mel_transformer", ()),
        ("wave_conv", "wave_conv", ()),
        ("mel_transformer, 100M", "mel_transformer", LARGE),
    )
    keys: tuple[str, ...] = ()
    members: int = 18
    rounds: int = 15
    run: tuple[str, ...] = ()


SMALL = Sizes(
    experiments=(
        ("mel_conv", "mel_conv", ("model.conv.width=16", "model.conv.depth=1")),
        ("mel_transformer", "mel_transformer", ("model.transformer.width=32",)),
    ),
    keys=("train.batch_size=4", "data.excerpt_seconds=0.5"),
    members=3,
    rounds=2,
    run=(
        "--config.data.synthetic.clips=60",
        "--config.train.steps=20",
        "--config.representation.mel.griffin_lim_iterations=2",
        "--config.model.conv.width=16",
    ),
)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def config_of(name, keys):
    run = Run(name, name, keys)
    return configs.override(steps.load(name), run.config())


def milliseconds(step, rounds):
    step.run(2)
    times = [steps.seconds_per_step(step.run, 1) for _ in range(rounds)]
    return 1e3 * statistics.median(times)


def share_of_peak(step, ms, dtype):
    """Of the card's peak, by XLA's count of operations; "" where either is unknown."""
    kind = jax.devices()[0].device_kind
    peak = next((peaks[dtype] for name, peaks in PEAKS.items() if name in kind), None)
    if peak is None or step.flops is None:
        return ""
    return f"{step.flops / (ms / 1e3) / peak:.1%}"


def train_steps(sizes):
    rows = []
    for title, name, keys in sizes.experiments:
        for dtype in ("float32", "bfloat16"):
            step = steps.build(config_of(name, (*sizes.keys, *keys, f"train.dtype={dtype}")))
            ms = milliseconds(step, sizes.rounds)
            cells = [f"`{title}`", dtype, f"{step.parameters:,}", f"{ms:.2f}"]
            rows.append([*cells, share_of_peak(step, ms, dtype), f"{step.compile_seconds:.1f}"])
            print(" ".join(rows[-1]), flush=True)
    return table(["", "", "parameters", "ms a step", "of the peak", "compile s"], rows)


def against_torch(sizes):
    if not TORCH:
        return "PyTorch is not installed here (`pip install -e '.[bench]'`).\n"
    import models

    rows = []
    for title, name, keys in sizes.experiments:
        if title in models.TWINS:
            with contextlib.redirect_stdout(io.StringIO()):
                times = models.compare(config_of(name, (*sizes.keys, *keys)), sizes.rounds, 5)
            ms = {peer: 1e3 * statistics.median(values) for peer, values in times.items()}
            ratios = [f"{ms[peer] / ms['aejax']:.2f}" for peer in ("eager", "compiled")]
            rows.append([f"`{title}`", *(f"{value:.2f}" for value in ms.values()), *ratios])
            print(" ".join(rows[-1]), flush=True)
    head = ["float32, ms a step", "aejax", "PyTorch eager", "`torch.compile`"]
    return table([*head, "eager / aejax", "compiled / aejax"], rows)


def population(sizes):
    _, name, keys = sizes.experiments[0]
    config = config_of(name, (*sizes.keys, *keys))
    one = steps.build(config)
    in_turn = sizes.members * milliseconds(one, sizes.rounds)
    together = steps.build(config, members=sizes.members)
    at_once = milliseconds(together, sizes.rounds)
    return (
        f"{sizes.members} members of `{name}`: {in_turn:.1f} ms for a step of each in turn,"
        f" {at_once:.1f} ms at once ({in_turn / at_once:.1f} times as fast); compiled in"
        f" {one.compile_seconds:.1f} and {together.compile_seconds:.1f} s.\n"
    )


def printed(script, *arguments):
    """What another benchmark prints, as a block of the page."""
    command = [sys.executable, str(HERE / script), *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    text = run.stdout if run.returncode == 0 else run.stdout + run.stderr[-500:]
    return f"```\n{text.rstrip()}\n```\n"


def transforms(sizes):
    if not TORCH:
        return "PyTorch is not installed here.\n"
    rounds = ("--rounds", str(sizes.rounds))
    return printed("transforms.py", "--only", "forward,gradient", *rounds)


def write_page(folder, *, small):
    """Measures, and writes the page into the folder; prints its name."""
    sizes = SMALL if small else Sizes()
    kind, begin = jax.devices()[0].device_kind, time.perf_counter()
    parts = {
        "Train steps": train_steps,
        "Beside PyTorch": against_torch,
        "A population": population,
        "Transforms": transforms,
        "The default run": lambda sizes: printed("first_result.py", *sizes.run),
    }
    page = [f"# aejax on {kind}\n", f"jax {jax.__version__}, `python {' '.join(sys.argv)}`.\n"]
    for title, part in parts.items():
        page += [f"## {title}\n", part(sizes)]
        print(f"{title}: {time.perf_counter() - begin:.0f} s so far", flush=True)
    path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '_', kind).strip('_')}.md"
    path.write_text("\n".join(page))
    print(path)
