"""A page of what aejax does on this machine's device: see accelerator.py.

Each section is what a script prints in a process of its own, this one or another, so that one that
fails, hangs or fills the card costs the page no other. PyTorch comes last, as it takes longest.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

import jax
import steps
from runs import Run

from aejax import config as configs
from aejax.runtime.files import atomic_write

HERE = pathlib.Path(__file__).parent
ENVIRONMENT = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # PyTorch and other processes are on the card too
    "JAX_DEFAULT_MATMUL_PRECISION": "default",
    "JAX_TRACEBACK_FILTERING": "off",  # the last line of an error is the error
    "PYTHONUNBUFFERED": "1",  # what is printed before the end of the time counts
}
PRECISION = """\
Rows in float32: products and convolutions are in TF32, on a GPU that has it, in both libraries
(`jax_default_matmul_precision="default"`; `torch.set_float32_matmul_precision("high")` and
`torch.backends.cudnn.allow_tf32=True`). Rows in bfloat16: networks are in bfloat16, in PyTorch by
`torch.autocast`. In both, aejax keeps transforms and the linear path, which begins as PCA, in full
float32, and the twins only FFTs. The section of transforms is in full float32 in both libraries.
XLA takes memory as it needs it (`XLA_PYTHON_CLIENT_PREALLOCATE=false`).
"""
NEED_TORCH = ("Transforms", "Beside PyTorch")
NO_TORCH = "PyTorch is not installed here (`pip install -e '.[bench]'`).\n"
DTYPES = ("float32", "bfloat16")
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
    """How much is measured: by default for a GPU.

    Attributes:
      experiments: name of the row, experiment, and its keys.
      keys: of all configs.
      members: of the population.
      rounds: of each measurement.
      transforms: how many of the sizes of transforms.py.
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
    transforms: int = 4
    run: tuple[str, ...] = ()

    def cases(self):
        """Of a table: name of the row, experiment, its keys, and the type; all in float32 first."""
        for dtype in DTYPES:
            for title, name, keys in self.experiments:
                yield title, name, (*self.keys, *keys, f"train.dtype={dtype}"), dtype


TINY = (
    "model.conv.width=16",
    "model.conv.depth=1",
    "data.excerpt_seconds=0.5",
    "augment.speed.range=(1.0,1.0)",  # a third of the time to compile
    "train.batch_size=4",
)
SMALL = Sizes(
    experiments=(("mel_conv", "mel_conv", ()),),
    keys=TINY,
    members=2,
    rounds=1,
    transforms=1,
    run=tuple(
        f"--config.{key}"
        for key in (
            *TINY,
            "data.synthetic.clips=40",
            "data.synthetic.seconds=1.0",
            "representation.mel.griffin_lim_iterations=2",
            "train.steps=6",
            "train.validate_every=6",
            "evaluate.example_clips=1",
        )
    ),
)


def print_row(cells):
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def table(head, cases, measure):
    """Prints row by row; at the end, as the error of this process, what failed of the cases."""
    print_row(head)
    print_row(["---"] * len(head))
    failed = []
    for case in cases:
        try:
            print_row(measure(*case))
        except (Exception, SystemExit) as error:
            line = str(error).strip().partition("\n")[0]
            failed.append(f"{case[0]}, {case[-1]}: {type(error).__name__}: {line}")
    if failed:
        sys.exit("; ".join(failed))


def config_of(name, keys):
    run = Run(name, name, keys)
    return configs.override(steps.load(name), run.config())


def milliseconds(step, rounds):
    step.run(2)
    return 1e3 * statistics.median(steps.seconds_per_step(step.run, 5) for _ in range(rounds))


def share_of_peak(step, ms, dtype):
    """Of the card's peak, by XLA's count of operations; "" where either is unknown."""
    kind = jax.devices()[0].device_kind
    peak = next((peaks[dtype] for name, peaks in PEAKS.items() if name in kind), None)
    if peak is None or step.flops is None:
        return ""
    return f"{step.flops / (ms / 1e3) / peak:.1%}"


def train_steps(sizes):
    def measure(title, name, keys, dtype):
        step = steps.build(config_of(name, keys))
        ms = milliseconds(step, sizes.rounds)
        share = share_of_peak(step, ms, dtype)
        seconds = f"{step.compile_seconds:.1f}"
        return f"`{title}`", dtype, f"{step.parameters:,}", f"{ms:.2f}", share, seconds

    head = ["", "", "parameters", "ms a step", "of the peak", "compile s"]
    table(head, sizes.cases(), measure)


def population(sizes):
    def measure(title, name, keys, dtype):
        one = steps.build(config_of(name, keys))
        in_turn = sizes.members * milliseconds(one, sizes.rounds)
        together = steps.build(config_of(name, keys), members=sizes.members)
        at_once = milliseconds(together, sizes.rounds)
        numbers = (in_turn, at_once, in_turn / at_once, one.compile_seconds)
        cells = [f"{number:.1f}" for number in (*numbers, together.compile_seconds)]
        return f"`{title}`, {sizes.members} members", dtype, *cells

    head = ["", "", "ms in turn", "ms at once", "in turn / at once", "compile s, one", "together"]
    table(head, [next(sizes.cases())], measure)


def beside_torch(sizes):
    import models

    def measure(title, name, keys, dtype):
        with contextlib.redirect_stdout(sys.stderr):
            times = models.compare(config_of(name, keys), sizes.rounds, 5)
        ms = {peer: 1e3 * statistics.median(values) for peer, values in times.items()}
        ratios = [ms[peer] / ms["aejax"] for peer in ("eager", "compiled")]
        return f"`{title}`", dtype, *(f"{value:.2f}" for value in (*ms.values(), *ratios))

    head = ["ms a step", "", "aejax", "PyTorch eager", "`torch.compile`"]
    table([*head, "eager / aejax", "compiled / aejax"], sizes.cases(), measure)


PARTS = {"steps": train_steps, "population": population, "twins": beside_torch}


def sections(small):
    """Titles, and the script of this folder that prints the section, with its arguments."""
    sizes, flag = (SMALL, ("--small",)) if small else (Sizes(), ())
    amount = ("--rounds", str(sizes.rounds), "--sizes", str(sizes.transforms))
    return {
        "Train steps": (__file__, "steps", *flag),
        "A population": (__file__, "population", *flag),
        "Transforms": ("transforms.py", "--only", "forward,gradient", *amount),
        "The default run": ("first_result.py", *sizes.run),
        "Beside PyTorch": (__file__, "twins", *flag),
    }


def printed(script, *arguments, seconds):
    """What a script prints within so many seconds, and in one line what went wrong, or ""."""
    if seconds <= 0:
        return "", "left out: no time was left"
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # to be ended with the processes that it starts
    )
    try:
        text, errors = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        return process.communicate()[0], "cut off: no time was left"
    if process.returncode == 0:
        return text, ""
    sys.stderr.write(errors[-2000:])
    lines = [f"exit code {process.returncode}", *errors.strip().splitlines()]
    return text, f"failed: {lines[-1]}"


def write_page(folder, *, small=False, minutes=8):
    """The exit code: 0, or 1 where a section failed or had no time; the page is in the folder.

    It is written anew after each section. Prints its name.
    """
    end = time.monotonic() + 60 * minutes
    os.environ.update(ENVIRONMENT)  # of sections, and before JAX looks for devices
    kind, torch = jax.devices()[0].device_kind, importlib.util.find_spec("torch")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '_', kind).strip('_')}.md"
    page = [f"# aejax on {kind}\n", f"jax {jax.__version__}, `python {' '.join(sys.argv)}`.\n"]
    page.append(PRECISION)
    incomplete = 0
    for title, command in sections(small).items():
        if title in NEED_TORCH and not torch:
            text, wrong = NO_TORCH, ""
        else:
            text, wrong = printed(*command, seconds=end - time.monotonic())
            if command[0] != __file__ and text:
                text = f"```\n{text.rstrip()}\n```\n"
        page += [f"## {title}\n", *([text] if text else [])]
        if wrong:
            incomplete = 1
            page.append(f"**{wrong}**\n")
            print(f"{title} {wrong}", file=sys.stderr)
        with atomic_write(path) as file:
            file.write_text("\n".join(page))
        print(f"{title}: {max(0, end - time.monotonic()):.0f} s left", flush=True)
    print(path)
    return incomplete


def main():
    parser = argparse.ArgumentParser(description="Prints a section of the page.")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    PARTS[options.part](SMALL if options.small else Sizes())


if __name__ == "__main__":
    main()
