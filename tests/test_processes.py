"""One run by several processes: the same losses and results, and what happens when one ends."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from conftest import REPOSITORY

from aejax import arguments
from aejax.evaluation import evaluate, metrics
from aejax.models.pca import BlockMoments, LeastSquares, PairMoments
from aejax.runtime import processes, rendezvous
from aejax.runtime.errors import UserError

EXPERIMENT = """
from aejax import default


def get_config():
    config = default()
    config.data.synthetic.clips = 40
    config.data.synthetic.seconds = 1.0
    config.data.excerpt_seconds = 0.5
    config.representation.mel.griffin_lim_iterations = 2
    config.model.encoder = "mlp"
    config.model.mlp.width = 16
    config.model.mlp.depth = 1
    config.model.latent_dim = 4
    config.augment.speed.range = (1.0, 1.0)
    config.train.batch_size = 8
    config.train.steps = 50
    config.train.validate_every = 25
    config.train.log_every = 1
    config.evaluate.example_clips = 2
    return config
"""


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


class Group:
    """Processes of one run, one device each, or one process with several devices."""

    def __init__(self, folder, workdir, count, *extra, devices=1, of_process=(), folders=()):
        experiment = folder / "small.py"
        experiment.write_text(EXPERIMENT)
        flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
        self.environment = os.environ | {
            "XLA_FLAGS": flags,
            "NPROC": "16",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(REPOSITORY),
        }
        port, self.processes = free_port(), []
        for index in range(count):
            words = [f"--config={experiment}", f"--workdir={workdir}", *extra]
            if count > 1:
                words += [f"--coordinator=127.0.0.1:{port}", f"--processes={count}"]
                words += [f"--process={index}"]
            if index == count - 1:
                words += of_process
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "aejax.main", *words],
                    cwd=folders[index] if folders else REPOSITORY,
                    env=self.environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )

    def ends(self, timeout=400):
        """Exit code, output and errors of each."""
        end, done = time.monotonic() + timeout, []
        try:
            for process in self.processes:
                out, err = process.communicate(timeout=max(1, end - time.monotonic()))
                done.append((process.returncode, out, err))
        finally:
            for process in self.processes:
                with contextlib.suppress(OSError):
                    process.kill()
        return done

    def succeeds(self):
        done = self.ends()
        assert [code for code, _, _ in done] == [0] * len(done), [err[-1500:] for *_, err in done]
        return [out for _, out, _ in done]


def errors(text):
    return [line for line in text.splitlines() if line.startswith("error:")]


def logged(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses(workdir):
    return [
        {name: value for name, value in line.items() if "loss" in name or "rmse" in name}
        for line in logged(workdir)
    ]


def results(workdir):
    return json.loads((workdir / "results.json").read_text())["rows"]


def assert_alike(workdir, other):
    ours, theirs = losses(workdir), losses(other)
    assert len(ours) == len(theirs)
    for line, expected in zip(ours, theirs, strict=True):
        assert line == pytest.approx(expected, rel=1e-5)
    for row, expected in zip(results(workdir), results(other), strict=True):
        numbers = {name: x for name, x in expected.items() if isinstance(x, float)}
        assert {name: row[name] for name in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-3)


def wait_for_step(workdir, step, timeout=300):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if (workdir / "metrics.jsonl").exists() and logged(workdir)[-1:]:
            with contextlib.suppress(ValueError, IndexError):
                if logged(workdir)[-1]["step"] >= step:
                    return
        time.sleep(0.2)
    raise AssertionError(f"step {step} was not reached")


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_processes_do_what_one_process_with_as_many_devices_does(tmp_path, count):
    first, *others = Group(tmp_path, tmp_path / "several", count).succeeds()
    assert f"device: {count} x cpu (cpu) of {count} processes" in first
    assert others == [""] * (count - 1)
    Group(tmp_path, tmp_path / "one", 1, devices=count).succeeds()
    assert_alike(tmp_path / "several", tmp_path / "one")


@pytest.mark.slow
def test_a_run_goes_on_with_other_numbers_of_processes(tmp_path):
    """SIGTERM to one stops all after the same step; SIGKILL to one ends the others; the same run is
    continued by four processes, finished by one, and is what it would have been."""
    workdir = tmp_path / "run"
    group = Group(tmp_path, workdir, 2, "--config.train.steps=400")
    wait_for_step(workdir, 3)
    group.processes[1].send_signal(signal.SIGTERM)
    (code, _, main), (other_code, _, other) = group.ends()
    assert (code, other_code) == (143, 143)
    assert len(errors(main)) == 1
    assert not errors(other)
    (stopped,) = (int(path.name) for path in (workdir / "checkpoints").iterdir() if int(path.name))
    assert f"stopped after step {stopped}; run the same command to resume" in main

    group = Group(tmp_path, workdir, 2, "--config.train.steps=400")
    wait_for_step(workdir, stopped + 3)
    group.processes[1].kill()
    started = time.monotonic()
    (code, out, err), _ = group.ends()
    assert time.monotonic() - started < 60
    assert code == 1
    assert f"resuming from step {stopped}" in out
    assert errors(err) == [
        "error: process 0: another process of this run has ended; its output says why. Run the same"
        " command to resume"
    ]

    killed = logged(workdir)[-1]["step"]
    group = Group(tmp_path, workdir, 4, "--config.train.steps=400")
    wait_for_step(workdir, killed + 3)
    group.processes[0].send_signal(signal.SIGTERM)
    done = group.ends()
    assert [code for code, _, _ in done] == [143] * 4
    assert "resuming from step" in done[0][1]

    (out,) = Group(tmp_path, workdir, 1, "--config.train.steps=400", devices=2).succeeds()
    assert "resuming from step" in out
    steps = [line["step"] for line in logged(workdir) if "loss/total" in line]
    assert steps == list(range(1, 401))
    Group(tmp_path, tmp_path / "whole", 1, "--config.train.steps=400").succeeds()
    last, expected = (
        next(line["loss/total"] for line in logged(path) if line["step"] == 400)
        for path in (workdir, tmp_path / "whole")
    )
    assert last == pytest.approx(expected, rel=0.05)


@pytest.mark.slow
def test_a_sharded_state_learns_alike_and_takes_less_memory(tmp_path):
    """Also over processes."""
    # Not at PCA, where gradients are all rounding, out of which Adam makes whole steps.
    start = ["--config.model.pca_start=False"]
    (data,) = Group(tmp_path, tmp_path / "data", 1, *start, devices=4).succeeds()
    sharded = [*start, "--config.train.shard=fsdp"]
    (fsdp,) = Group(tmp_path, tmp_path / "fsdp", 1, *sharded, devices=4).succeeds()
    for workdir in ("fsdp", "processes"):
        if workdir == "processes":
            Group(tmp_path, tmp_path / workdir, 2, *sharded, devices=2).succeeds()
        for line, expected in zip(
            losses(tmp_path / workdir), losses(tmp_path / "data"), strict=True
        ):
            assert line == pytest.approx(expected, rel=1e-5)
    whole, part = (
        float(next(line for line in out.splitlines() if line.startswith("state: ")).split()[2])
        for out in (data, fsdp)
    )
    assert part < 0.4 * whole


@pytest.mark.slow
def test_a_mistake_is_named_once(tmp_path):
    """Processes that differ, and a batch that they cannot share."""
    changed = ["--config.model.latent_dim=5"]
    (code, _, main), (other_code, _, other) = Group(
        tmp_path, tmp_path / "run", 2, of_process=changed
    ).ends()
    assert (code, other_code) == (1, 1)
    (line,) = errors(main)
    assert "process 1: config differs from that of process 0" in line
    assert '("latent_dim": 5, not "latent_dim": 4)' in line
    assert not errors(other)

    group = Group(tmp_path, tmp_path / "run", 2, "--config.train.batch_size=7")
    (code, _, main), (other_code, _, other) = group.ends()
    assert (code, other_code) == (1, 1)
    assert "batch_size=7 must be a multiple of the 2 devices of 2 processes" in main
    assert not errors(other)
    assert not (tmp_path / "run").exists()

    folders = [tmp_path / "machine", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    group = Group(tmp_path, "run", 2, folders=folders)
    (code, _, main), (other_code, _, other) = group.ends()
    assert (code, other_code) == (1, 1)
    (line,) = errors(main)
    assert "process 1: --workdir=run is not the directory that process 0 has created" in line
    assert not errors(other)
    assert [path.name for path in (folders[0] / "run").iterdir()] == ["run.lock"]
    assert not list(folders[1].iterdir())


def test_versions_must_be_alike(monkeypatch):
    monkeypatch.setattr(processes, "agree", lambda values: values | {"the version of jax": "0.1"})
    with pytest.raises(UserError, match=r"the version of jax differs from .*, not 0\.1\)"):
        processes.check_alike({"config": "{}"})


@pytest.mark.parametrize(
    ("error", "message"), [(ValueError("none"), None), (RuntimeError("lost"), "no cluster .lost.")]
)
def test_chips_that_are_of_no_pod(error, message, monkeypatch):
    def initialize(*args, **options):
        raise error

    monkeypatch.setattr(rendezvous, "_has_chips", lambda: True)
    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with contextlib.nullcontext() if message is None else pytest.raises(UserError, match=message):
        rendezvous.start(None, None, None)
    assert processes.count() == 1


def test_a_coordinator_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(rendezvous, "_ANSWER", 0.5)
    port = free_port()
    with pytest.raises(UserError, match=f"process 1: no coordinator answers at 127.0.0.1:{port}"):
        rendezvous.start(f"127.0.0.1:{port}", 2, 1)


@pytest.mark.parametrize(
    ("environment", "library"),
    [
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpi4py"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}, "kubernetes"),
    ],
)
def test_a_launcher_that_needs_a_library(environment, library, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rendezvous.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f": pip install {library}, or give --coordinator"):
        rendezvous.start(None, None, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--coordinator=a:1", "--processes=2"], "missing: --process$"),
        (["--coordinator=a", "--processes=2", "--process=0"], "a is not HOST:PORT"),
        (["--coordinator=a:1", "--processes=2", "--process=2"], "from 0 to --processes=2 minus 1"),
        (
            ["--coordinator=a:1", "--processes=two", "--process=0"],
            "--processes=two is not a number",
        ),
    ],
)
def test_bad_flags(words, message):
    with pytest.raises(UserError, match=message):
        rendezvous.start(*arguments.process_flags(["aejax", *words]))


@pytest.mark.parametrize("moments", [BlockMoments, PairMoments, LeastSquares])
def test_moments_of_halves_are_those_of_the_whole(moments, monkeypatch):
    """And travel between processes as arrays."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((100, 5)) + np.arange(5)
    columns = 1 if moments is BlockMoments else 2

    def of(rows):
        sizes = [5] * (2 if moments is LeastSquares else 1)
        return moments(*sizes).update(*[data[rows] * (1 + i) for i in range(columns)])

    half, other = of(slice(0, 30)), of(slice(30, None))
    sent = []

    def exchanged(content):
        sent.append(content)
        return [content, b"".join(np.asarray(x).tobytes() for x in jax.tree.leaves(other))]

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "gather", exchanged)
    first, second = processes.gather_tree(half)
    merged = first.merge(second)
    for got, wanted in zip(jax.tree.leaves(merged), jax.tree.leaves(of(slice(None))), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize("theirs", [b"", b"abc", b"defghijkl", b"mnopqrstu" * 2])
def test_bytes_travel_in_pieces(theirs, monkeypatch):
    """Of this process, and of one that sends as many pieces."""
    own, sent = b"0123456789", []

    def gathered(array):
        sent.append(array)
        if len(sent) == 1:
            return np.stack([array, np.asarray(divmod(len(theirs), 4), np.int32)])
        start = 4 * (len(sent) - 2)
        piece = np.frombuffer(theirs[start : start + 4], np.uint8)
        return np.stack([array, np.pad(piece, (0, len(array) - len(piece)))])

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "_PIECE", 4)
    monkeypatch.setattr(processes, "_gathered", gathered)
    assert processes.gather(own) == [own, theirs]
    assert all(array.nbytes <= 8 for array in sent)


def test_processes_exchange_the_clips_that_they_measured(monkeypatch):
    """The second one measured clips 3 and 4."""
    own = metrics.Sums(*(np.arange(5.0) * [0, 1, 0, 1, 0] for _ in metrics.Sums._fields))
    theirs, sent = [np.asarray([3, 4])] + [np.asarray([10.0, 20.0])] * len(own), []

    def concatenated(array):
        sent.append(array)
        return np.concatenate([array, theirs[len(sent) - 1]])

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "concatenate", concatenated)
    total = evaluate._of_all_processes(own, np.asarray([False, True, False, True, False]))
    for x in total:
        np.testing.assert_array_equal(x, [0, 1, 0, 13, 20])
    assert [len(array) for array in sent] == [2] * (1 + len(own))


def test_totals_keep_their_precision(monkeypatch):
    array = np.asarray([1 + 2**-50, 3.0])
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "gather", lambda content: [content, content])
    np.testing.assert_array_equal(processes.total({"a": array})["a"], 2 * array)
    np.testing.assert_array_equal(processes.concatenate(array), np.tile(array, 2))
