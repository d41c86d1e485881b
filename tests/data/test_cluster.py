"""Packing in tasks of a launcher."""

import os
import signal
import subprocess
import sys
import time

import launched
import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY, most_slow

from aejax import cli
from aejax.data import cluster, packing
from aejax.data.cluster import tasks_in
from aejax.data.corpus import Settings
from aejax.data.folder import open_folder
from aejax.runtime.errors import UserError

FORM = {"encoding": "pcm16", "shard_bytes": 20_000}
OPTIONS = {"local": {}, "submitit": {"cluster": "local"}, "ray": {}}


@pytest.fixture
def sounds(audio_folder):
    rng = np.random.default_rng(0)
    for number in range(8):
        audio = rng.uniform(-0.5, 0.5, 8000)
        soundfile.write(audio_folder / "a" / f"{number}.wav", audio, 16000, subtype="PCM_16")
    (audio_folder / "a" / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(audio_folder / "copy.wav", audio, 16000, subtype="PCM_16")
    return audio_folder


@pytest.fixture
def uncached(tmp_path, monkeypatch):
    """No scan is cached before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pack_by(kind, sounds, out):
    with tasks_in(out / "tasks", kind=kind, jobs=2, options=OPTIONS[kind]) as tasks:
        source = open_folder(sounds, Settings(), examine=tasks.examine)
        packing.pack(source, out, **FORM, write=tasks.write_shards)


@pytest.mark.parametrize("kind", most_slow(OPTIONS, "local"))
def test_tasks_make_the_same_pack(kind, sounds, uncached, tmp_path, monkeypatch):
    packing.prepare(tmp_path / "tasks", Settings(), **FORM)
    pack_by(kind, sounds, tmp_path / "tasks")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    packing.pack(open_folder(sounds, Settings()), tmp_path / "here", **FORM)
    ours, theirs = files_of(tmp_path / "tasks"), files_of(tmp_path / "here")
    assert len(theirs) > 8
    assert ours == theirs


def test_a_task_that_fails_is_one_line(tmp_path):
    tasks = cluster.Cluster(tmp_path, "local", 2, {})
    planned = [tasks._task(f.__name__, f) for f in (launched.refuse, launched.leave)]
    with pytest.raises(UserError, match=r"^(it is the user's|exit code 3).*\(and 1 other task\)"):
        list(tasks._in_order(planned))


def test_a_machine_without_the_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere is not on .*; tasks need a shared file system"):
        cluster._examine(tmp_path / "nowhere", ["a.wav"], tmp_path / "scan.npz", None)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--launcher=ray"], "--launcher needs --jobs=N"),
        (["--launcher_options=a=b"], "--launcher_options needs --launcher"),
        (["--launcher=ray", "--jobs=2", "--launcher_options=gpus=1"], "has no option 'gpus'"),
        (["--launcher=ray", "--jobs=2", "--launcher_options=gpus"], "'gpus' is not KEY=VALUE"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(flags, says, sounds, tmp_path, capsys):
    assert cli.main(["pack", str(sounds), str(tmp_path / "out"), *flags]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "out").exists()


def test_a_folder_that_does_not_exist_leaves_nothing(tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--launcher=submitit", "--launcher_options=cluster=local", "--jobs=1"]
    assert cli.main(["pack", str(tmp_path / "nowhere"), str(out), *options]) == 1
    assert "nowhere does not exist; give a folder" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_a_packer_that_was_killed_goes_on(sounds, uncached, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "aejax.cli", "pack", str(sounds), str(out), "--jobs=1"]
    command += ["--launcher=submitit", "--launcher_options=cluster=local"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while not list(out.glob("tasks/scan-*.npz")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "pack.json").exists()
    subprocess.run(command, check=True, timeout=300)
    packing.pack(
        open_folder(sounds, Settings()), tmp_path / "here", encoding="pcm16", shard_bytes=256 << 20
    )
    assert files_of(out) == files_of(tmp_path / "here")
