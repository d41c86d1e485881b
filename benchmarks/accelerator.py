"""What an accelerator makes of every experiment's train step.

    pip install -e '.[tpu]' && python benchmarks/accelerator.py --aot=v5e:2x2
    python benchmarks/accelerator.py --aot=v5e:2x2 --experiments mel_conv --batch_size=64

With ``--aot`` nothing runs: libtpu compiles ahead of time for the chips of a topology, on a machine
that has none.
"""

import argparse
import collections
import contextlib
import dataclasses
import io
import os
import pathlib
import re
import runpy
import tempfile
import time

EXPERIMENTS = pathlib.Path(__file__).parents[1] / "experiments"
NAMES = [path.stem for path in sorted(EXPERIMENTS.glob("*_*.py"))]
# What a program must not hold, and what passes between devices.
INSTRUCTIONS = (
    "gather",
    "scatter",
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)


def prepared(name, batch_size, devices, overrides=()):
    from aejax import prepare
    from aejax.runtime.devices import Devices
    from aejax.workdir import Workdir

    config = runpy.run_path(str(EXPERIMENTS / f"{name}.py"))["get_config"]()
    config.data.synthetic.clips = 60
    config.train.batch_size = batch_size
    if config.model.speaker_label:
        config.model.speaker_label = "family"
    for override in overrides:
        key, value = override.split("=")
        with config.unlocked():
            config.update_from_flattened_dict({key: eval(value)})
    with contextlib.redirect_stdout(io.StringIO()):
        folder = pathlib.Path(tempfile.mkdtemp()) / "run"
        experiment = prepare.prepare(config, Workdir(folder, config))
    return dataclasses.replace(experiment, devices=Devices(batch_size, devices))


def report(name, lowered):
    begin = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - begin
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    text = compiled.as_text()
    if dump := os.environ.get("DUMP"):
        pathlib.Path(dump).write_text(text)
    pattern = rf"[ )]({'|'.join(INSTRUCTIONS)})(?:-start)?\("
    counts = collections.Counter(re.findall(pattern, text))
    flops, accessed = cost["flops"], cost["bytes accessed"]
    print(
        f"{name:24} {accessed / 1e9:8.2f} {flops / 1e9:8.1f} {flops / accessed:8.1f}"
        f" {memory.temp_size_in_bytes / 1e6:8.0f} {seconds:6.0f}  {dict(counts)}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--aot")
    parser.add_argument("--experiments", nargs="+", default=NAMES)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": "v5litepod-4",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
    from jax.experimental import topologies

    from aejax.training.compile import step_of
    from aejax.training.start import snapshot_shapes

    devices = topologies.get_topology_desc(platform="tpu", topology_name=options.aot).devices
    print(f"{'':24} {'GB':>8} {'GFLOP':>8} {'FLOP/B':>8} {'temp MB':>8} {'s':>6}")
    for name in options.experiments:
        experiment = prepared(name, options.batch_size, devices, options.set)
        state = snapshot_shapes(experiment).state
        batch = experiment.with_speakers(experiment.silent_batch())
        report(name, experiment.devices.lower(step_of(experiment), state, batch))


if __name__ == "__main__":
    main()
