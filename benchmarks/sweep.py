"""Sweeps: one population against one run after another against a process for each.

    python benchmarks/sweep.py                     # 6 sizes x 3 seeds of a small mel_conv
    python benchmarks/sweep.py --rounds 3
    python benchmarks/sweep.py --readme            # the README's sweep, and its report again

Each way is the real command, with an empty compilation cache. "sequential" is the same sweep with
--sweep_mode=sequential: one run after the other, each in a process of its own that finds what the
first has compiled; "processes" is the command of each run by itself, which compiles anew. Ways take
turns within a round; ratios are medians over rounds. Steps a second are those of all runs together,
while they trained.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import psutil

from aejax.runtime import files

REPOSITORY = pathlib.Path(__file__).parents[1]
GRID = "model.latent_dim=4,8,12,16,24,32 seed=0,1,2"
SMALL = {
    "data.synthetic.clips": 120,
    "model.conv.width": 128,
    "model.conv.depth": 2,
    "train.steps": 120,
    "train.validate_every": 120,
    "evaluate.example_clips": 1,
    "representation.mel.griffin_lim_iterations": 8,
}
WAYS = {
    "population": ["--sweep_mode=population"],
    "sequential": ["--sweep_mode=sequential"],
}


def options():
    return [f"--config.{key}={value}" for key, value in SMALL.items()]


def members():
    axes = [axis.partition("=")[2].split(",") for axis in GRID.split()]
    return [(latents, seed) for latents in axes[0] for seed in axes[1]]


class Peak(threading.Thread):
    """The largest resident memory of a process and its children, together."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.process, self.bytes = psutil.Process(pid), 0

    def run(self):
        while True:
            try:
                every = [self.process, *self.process.children(recursive=True)]
                total = sum(one.memory_info().rss for one in every)
            except psutil.Error:
                if not self.process.is_running():
                    return
                continue
            self.bytes = max(self.bytes, total)
            time.sleep(0.1)


def command(arguments, cache):
    """Runs it; seconds, peak bytes, and what it printed."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "aejax.main", "--config=experiments/mel_conv.py", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    peak = Peak(process.pid)
    peak.start()
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{output[-2000:]}")
    return time.perf_counter() - begin, peak.bytes, output


def measure(way, place):
    """Wall seconds, times compiled, seconds of that, peak MB."""
    if way in WAYS:
        arguments = [*options(), f"--sweep={GRID}", *WAYS[way], f"--workdir={place / 'sweep'}"]
        seconds, peak, output = command(arguments, place / "cache")
    else:
        seconds, peak, output = 0.0, 0, ""
        for latents, seed in members():
            own = [f"--config.model.latent_dim={latents}", f"--config.seed={seed}"]
            own += [*options(), f"--workdir={place / f'{latents}_{seed}'}"]
            took, used, printed = command(own, place / f"cache_{latents}_{seed}")
            seconds, peak, output = seconds + took, max(peak, used), output + printed
    steps = [line for path in place.rglob("metrics.jsonl") for line in rates(path)]
    together = len(members()) if way == "population" else 1
    compiled = [float(x) for x in re.findall(r"compiled the step in ([\d.]+) s", output)]
    return {
        "seconds": seconds,
        "compiled": len(compiled),
        "compile_seconds": sum(compiled),
        "megabytes": peak / 1e6,
        "steps": statistics.median(steps) * together,
    }


def rates(path):
    key = "time/steps_per_second"
    return [line[key] for line in map(json.loads, path.open()) if key in line]


def ways(rounds, names):
    found = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            with tempfile.TemporaryDirectory() as place:
                found[name].append(measure(name, pathlib.Path(place)))
            print(turn, name, json.dumps(found[name][-1]), flush=True)
    print(f"\n{len(members())} runs of a small mel_conv, medians of {rounds} rounds")
    heads = {"wall": 9, "compiled": 10, "for": 9, "memory": 11, "steps/s": 10}
    line = "".join(f"{head:>{width}}" for head, width in heads.items())
    print(f"{'':<12}{line}{'against population':>20}")
    for name in names:
        middle = {key: statistics.median(x[key] for x in found[name]) for key in found[name][0]}
        pairs = zip(found[name], found["population"], strict=True)
        ratio = statistics.median(one["seconds"] / other["seconds"] for one, other in pairs)
        print(
            f"{name:<12}{middle['seconds']:7.0f} s{middle['compiled']:10.0f}"
            f"{middle['compile_seconds']:7.1f} s{middle['megabytes']:8.0f} MB"
            f"{middle['steps']:10.1f}{ratio:20.2f}"
        )


def readme(root):
    """The README's sweep, from the command to the report; then the report alone."""
    seconds, peak, output = command(["--sweep", f"--workdir={root / 'sweep'}"], root / "cache")
    print("\n".join(line for line in output.splitlines() if "floats/s" in line or "pca" in line))
    print("\n".join(line for line in output.splitlines() if re.match(r"latent_dim=\d+ ", line)))
    print(
        f"the README's sweep: {seconds:.0f} s from the command to the report, {peak / 1e9:.1f} GB"
    )
    begin = time.perf_counter()
    subprocess.run(["aejax", "report", str(root / "sweep")], check=True)
    size = (root / "sweep" / "report.html").stat().st_size
    print(f"the report again: {time.perf_counter() - begin:.1f} s, {size / 1e6:.1f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--readme", action="store_true", help="the README's sweep alone")
    parser.add_argument("--root", type=files.expand, help="where the README's sweep stays")
    every = [*WAYS, "processes"]
    parser.add_argument("--ways", nargs="+", choices=every, default=every)
    given = parser.parse_args()
    if given.ways[0] != "population":
        parser.error("ratios are against population: give it first")
    if not given.readme:
        ways(given.rounds, given.ways)
        return
    if given.root:
        readme(given.root)
        return
    with tempfile.TemporaryDirectory() as place:
        readme(pathlib.Path(place))


if __name__ == "__main__":
    main()
