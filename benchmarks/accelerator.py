"""aejax on an accelerator: what its programs do there, and how fast they are.

    pip install -e '.[tpu]' && python benchmarks/accelerator.py --aot=v5e:2x2
    python benchmarks/accelerator.py --aot=v5e:2x2 --experiments mel_conv --programs step
    pip install -e '.[cuda,bench]' && python benchmarks/accelerator.py   # with a GPU
    python benchmarks/accelerator.py --small --out=/tmp             # on a CPU, to see that it works

With ``--aot`` nothing runs: libtpu compiles ahead of time for the chips of a topology, on a machine
that has none. For every experiment it compiles the train step, that of a population of four, and
the evaluation of a batch with two iterations of Griffin-Lim, and prints for one chip: bytes that
instructions access, floating-point operations and how many of them a byte, temporary memory,
seconds to compile, and how many gathers, scatters and collectives there are. Of a batch of 64
excerpts each chip has its share. ``--plain`` leaves augmentation out, but for the noise of
denoising: what the networks and transforms alone access.

Without, it runs on the device of this machine and writes a page named after it, section by section:
see gpu_page.py. After ``--minutes`` it stops where it is. What failed, or had no time, is a line in
its section, and the exit code is 1.
"""

import argparse
import pathlib
import signal
import sys

import programs
from steps import NAMES

HEAD = ("", "GB", "GFLOP", "FLOP/B", "temporary MB", "compile s", "instructions")
PROGRAMS = ("step", "population", "evaluation")


def lowered(program, prepared, devices):
    if program == "population":
        return programs.population(prepared, 4)
    if program == "evaluation":
        return programs.evaluation(prepared, devices)
    return programs.step(prepared)


def row(name, figures):
    counts = {kind: n for kind, n in (figures.lookups | figures.collectives).items() if n}
    return (
        name,
        f"{figures.accessed / 1e9:.2f}",
        f"{figures.flops / 1e9:.1f}",
        f"{figures.flops / figures.accessed:.1f}",
        f"{figures.temporary / 1e6:.0f}",
        f"{figures.seconds:.0f}",
        ", ".join(f"{n} {kind}" for kind, n in counts.items()),
    )


def ahead_of_time(options):
    devices = programs.chips(options.aot)
    print(f"{len(devices)} x {devices[0].device_kind}, {options.batch_size} excerpts a batch\n")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for name in options.experiments:
        prepared = programs.experiment(
            name,
            batch_size=options.batch_size,
            devices=devices,
            keys=options.set,
            augmented=not options.plain,
        )
        for program in options.programs:
            figures = programs.figures(lowered(program, prepared, devices))
            title = f"`{name}`" if program == "step" else f"`{name}`, {program}"
            print(f"| {' | '.join(row(title, figures))} |", flush=True)
            if options.dump:
                options.dump.mkdir(parents=True, exist_ok=True)
                (options.dump / f"{name}_{program}.hlo").write_text(figures.text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--aot", metavar="TOPOLOGY", help="such as v5e:2x2: compile, do not run")
    parser.add_argument("--experiments", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--batch_size", type=int, default=64, help="of all chips together")
    parser.add_argument("--plain", action="store_true", help="without augmentation")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the configs")
    parser.add_argument("--dump", type=pathlib.Path, help="a folder for the programs' text")
    parser.add_argument("--small", action="store_true", help="of everything a little, for a CPU")
    parser.add_argument("--minutes", type=float, default=8, help="for the page")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(), help="of the page")
    options = parser.parse_args()
    if options.aot:
        ahead_of_time(options)
    else:
        from gpu_page import write_page

        signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends what it has started
        sys.exit(write_page(options.out, small=options.small, minutes=options.minutes))


if __name__ == "__main__":
    main()
