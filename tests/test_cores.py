"""Results are the same bit for bit by the number of cores, as docs/guides say."""

import json
import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY

COMMAND = [sys.executable, "-m", "aejax.main", "--config=experiments/mel_conv.py"]
SMALL = {"train.steps": 6, "train.validate_every": 3, "train.batch_size": 8, "model.conv.width": 32}
SMALL |= {
    "data.synthetic.clips": 40,
    "data.synthetic.seconds": 1.0,
    "data.excerpt_seconds": 0.5,
    "evaluate.example_clips": 1,
}


@pytest.mark.slow  # four runs of their own processes
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="takes two cores, and a system that can withhold one",
)
def test_results_go_by_the_number_of_cores_alone_and_by_nproc_instead(tmp_path):
    first, second, *_ = sorted(os.sched_getaffinity(0))

    # NumPy, too, takes all cores that it has, as outside of the tests.
    usual = {key: x for key, x in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}

    def run(name, cores, **environment):
        arguments = [f"--config.{key}={value}" for key, value in SMALL.items()]
        subprocess.run(
            [*COMMAND, f"--workdir={tmp_path / name}", *arguments],
            check=True,
            capture_output=True,
            cwd=REPOSITORY,
            env=usual | {"JAX_PLATFORMS": "cpu"} | environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        return json.loads((tmp_path / name / "results.json").read_text())["rows"]

    assert run("one core", {first}) == run("another", {second})
    two = run("two cores", {first, second}, NPROC="2")
    assert run("two, shared by one", {first}, NPROC="2") == two
