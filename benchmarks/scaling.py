"""How the train step scales: bytes that devices exchange, and the efficiency to expect.

    python benchmarks/scaling.py                                   # for four CPU devices
    pip install -e '.[tpu]' && python benchmarks/scaling.py --aot=v5e:2x2

Compiles every experiment's step for several devices and reads from the program how many bytes each
device gives to a collective. From them, and from published speeds, the efficiency on 8, 64 and 512
devices, each with the same rows as here (weak scaling):

    step = max(operations / peak, bytes accessed / memory bandwidth)
    exchange = 2 (n - 1) / n * bytes / link bandwidth     (ring all-reduce, without latency)
    efficiency = step / (step + exchange)                 (nothing overlaps)

Devices with fast links between them exchange first, n at a time; what is left, an n-th of the bytes
for each of them, then goes between these groups in the same way.

Both times are at their least, at the peak of the device and of its links; a step that reaches less
of its peak scales better than this. Where the exchange is hidden behind the step, as XLA does with
part of it, efficiency is higher, up to 1 while the exchange is the shorter. Bytes accessed are of
the program that was compiled: with ``--aot`` a TPU's, otherwise a CPU's, which fuses less.
"""

import argparse
import dataclasses
import math

import jax
import programs
from steps import NAMES

COUNTS = (8, 64, 512)


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """Published speeds of a device.

    Attributes:
      name: its name.
      peak: operations per second of products in float32 inputs at default precision.
      memory: bytes per second.
      links: from the closest, the number of devices or groups that are linked, and bytes per
        second that each device sends there.
    """

    name: str
    peak: float
    memory: float
    links: tuple[tuple[float, float], ...]

    def step(self, figures):
        return max(figures.flops / self.peak, figures.accessed / self.memory)

    def exchange(self, count, size):
        """Seconds of an all-reduce of so many bytes by so many devices."""
        seconds = 0.0
        for most, speed in self.links:
            members = min(count, most)
            seconds += 2 * (members - 1) / members * size / speed
            size, count = size / members, math.ceil(count / members)
        return seconds


ACCELERATORS = (
    # https://cloud.google.com/tpu/docs/v5e: 197 TFLOP/s in bfloat16, 819 GB/s; 400 GB/s between
    # chips in both directions; 6.4 Tbit/s of network for a pod of 256 chips.
    Accelerator("TPU v5e", 197e12, 819e9, ((256, 200e9), (1024, 6.4e12 / 8 / 256))),
    # https://www.nvidia.com/en-us/data-center/h100/ (SXM): TF32 at 494 TFLOP/s without sparsity,
    # 3.35 TB/s, NVLink 900 GB/s in both directions; DGX H100: a ConnectX-7 of 400 Gbit/s each.
    Accelerator("H100", 494e12, 3.35e12, ((8, 450e9), (1024, 50e9))),
)


def row(name, figures):
    size = sum(figures.communicated.values())
    calls = sum(figures.collectives.values())
    cells = [f"`{name}`", f"{size / 1e6:.2f}", str(calls)]
    for accelerator in ACCELERATORS:
        step = accelerator.step(figures)
        cells.append(f"{1e3 * step:.2f}")
        for count in COUNTS:
            exchange = accelerator.exchange(count, size)
            cells.append(f"{step / (step + exchange):.2f}")
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--aot", metavar="TOPOLOGY", help="such as v5e:2x2")
    parser.add_argument("--experiments", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--batch_size", type=int, default=64, help="of all devices together")
    options = parser.parse_args()
    if options.aot:
        devices = programs.chips(options.aot)
    else:
        jax.config.update("jax_num_cpu_devices", 4)
        devices = jax.devices("cpu")
    print(f"{len(devices)} x {devices[0].device_kind}, {options.batch_size} excerpts a batch\n")
    head = ["", "MB exchanged", "collectives"]
    for accelerator in ACCELERATORS:
        head += [f"{accelerator.name}: step ms", *(f"on {count}" for count in COUNTS)]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name in options.experiments:
        prepared = programs.experiment(name, batch_size=options.batch_size, devices=devices)
        figures = programs.figures(programs.step(prepared))
        print(f"| {' | '.join(row(name, figures))} |", flush=True)


if __name__ == "__main__":
    main()
