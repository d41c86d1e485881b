"""The default run, phase by phase: how long from the command to the table.

    python benchmarks/first_result.py            # everything cold
    python benchmarks/first_result.py --twice    # and again, with what was compiled the first time
    python benchmarks/first_result.py --config.train.steps=20    # with arguments of the run

Runs ``python -m aejax.main --config=experiments/mel_conv.py`` as it stands in a process of its
own, with an empty compilation cache, and reads the phases off what it writes and prints.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).parents[1]


def run(folder, cache, arguments):
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache), "PYTHONUNBUFFERED": "1"}
    log = folder.with_suffix(".log")
    begin = time.perf_counter()
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "aejax.main", "--config=experiments/mel_conv.py"]
            + [f"--workdir={folder}", *arguments],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    marks = {"start": begin}
    lines = []
    for line in process.stdout:
        marks[line] = time.perf_counter()
        lines.append(line)
    if process.wait():
        raise SystemExit(f"the run failed:\n{log.read_text()[-2000:].rstrip()}")
    return begin, marks, "".join(lines)


def written(path):
    return path.stat().st_mtime - time.time() + time.perf_counter()


def report(folder, begin, marks, output):
    def printed(word):
        return next(when for line, when in marks.items() if line.startswith(word))

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    last_checkpoint = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    ends = [
        ("import, find the device", printed("device:")),
        ("corpus", printed("  test ")),
        ("pca", written(folder / "pca.npz")),
        ("initialise, compile", printed("compiled the step")),
        (f"train and validate ({lines[-1]['step']} steps)", written(last_checkpoint)),
        ("evaluate", written(min((folder / "audio").iterdir(), key=written))),
        ("write", printed("results:")),
        ("exit", marks["exit"]),
    ]
    before = begin
    for name, end in ends:
        print(f"  {name:<38} {end - before:6.1f} s")
        before = end
    print(f"  {'in all':<38} {before - begin:6.1f} s")
    print("\n".join("  " + line for line in output.splitlines() if "pca" in line or "mel_" in line))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--twice", action="store_true")
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        for name in ("cold", "again")[: 1 + options.twice]:
            begin, marks, output = run(place / name, place / "cache", arguments)
            marks["exit"] = time.perf_counter()
            print(f"{name}:")
            report(place / name, begin, marks, output)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
