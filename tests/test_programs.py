"""What the programs of experiments hold, lowered or compiled for a TPU; nothing runs."""

from conftest import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
EXPERIMENTS = [path.stem for path in sorted((REPOSITORY / "experiments").glob("*_*.py"))]
SMALL = ("data.synthetic.clips=60",)
