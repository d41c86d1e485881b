"""Every path that a user gives may begin with ~, and what is printed of it may be anything."""

import argparse
import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY

import aejax
from aejax import arguments, cli, experiment
from aejax import config as config_module
from aejax import main as main_module
from aejax.data import labels
from aejax.inference import paths
from aejax.runtime import files
from aejax.runtime.errors import UserError
from aejax.workdir import Workdir


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME")
    return tmp_path


PIPED = ("reconstruct", "denoise", "convert", "compress", "decompress")


def test_of_every_argument_that_is_a_path(home):
    """No parser of a command takes a path as it is."""
    parser, _ = cli._parser()
    commands = next(x for x in parser._actions if isinstance(x, argparse._SubParsersAction)).choices
    seen = set()
    for name, command in commands.items():
        for action in command._actions:
            if action.metavar in ("DIR", "OUT", "RUN", "FILE", "SOUND"):
                if name in PIPED and action.metavar == "OUT":
                    continue  # by `paths.find`, for "-" is a pipe
                assert action.type("~/x") == home / "x", (name, action.dest)
                seen.add(action.dest)
    assert seen == {"folder", "out", "run", "runs", "sounds"}


def test_of_what_a_task_reads_and_writes(home):
    (home / "in.wav").touch()
    (pair,) = paths.find("~/in.wav", "~/out.wav", rename=str, piped="", force=False).pairs
    assert (pair.source, pair.target) == (home / "in.wav", home / "out.wav")


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml-collections'
def test_of_flags_and_config(home, monkeypatch):
    (home / "mine.py").write_text((REPOSITORY / "experiments" / "mel_conv.py").read_text())
    (home / "sounds").mkdir()
    words = ["--config=~/mine.py", "--workdir=~/run", "--config.data.path=~/sounds/"]
    words += ["--config.data.labels=~/table.csv"]
    monkeypatch.setattr("sys.argv", ["aejax", *words])  # ml-collections looks there
    try:
        config = arguments.parse(main_module.FLAGS, ["aejax", *words])
        workdir = files.expand(main_module._WORKDIR.value)
    finally:
        for name in list(main_module.FLAGS):
            main_module.FLAGS[name].unparse()
    assert workdir == home / "run"
    assert config.data.path == str(home / "sounds")
    assert config.data.labels == str(home / "table.csv")


def test_of_the_python_interface(home, small_config):
    with pytest.raises(UserError, match=f"{home}/run"):
        aejax.load("~/run")
    (home / "file").touch()
    with pytest.raises(UserError, match=f"{home}/file is a file"):
        experiment.run(small_config, "~/file")
    small_config.data.path = "~/gone"
    with pytest.raises(UserError, match=f"{home}/gone does not exist"):
        experiment.run(small_config, home / "run")
    (home / "table.csv").write_text("path,a")
    assert labels.find(home, "~/table.csv") == home / "table.csv"


def test_however_a_path_is_written_it_is_the_same_run(home, small_config):
    flat = {
        "data.path": "~/sounds/",
        "augment.noise.kind": "folder",
        "augment.noise.path": "~/noise",
    }
    config = config_module.override(small_config, flat)
    Workdir(home / "run", config).create()
    Workdir(home / "run", config).write_config()
    for path in ("~/sounds", str(home / "sounds")):
        Workdir(home / "run", config_module.override(config, {"data.path": path}))
    with pytest.raises(UserError, match="another config"):
        Workdir(home / "run", config_module.override(config, {"data.path": "~/other"}))


def test_whatever_is_printed_there_is_no_traceback(tmp_path):
    """On a terminal without Unicode, of a folder whose name is no text."""
    name = os.fsencode(tmp_path) + b"/caf\xe9\xc3\xa9"
    os.mkdir(name)
    done = subprocess.run(
        [sys.executable, "-c", PRINT, name],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout == f"{tmp_path}/caf\\udce9\\xe9\n"


PRINT = """
import sys
from aejax.runtime.errors import exit_code
sys.exit(exit_code(lambda: print(sys.argv[1]), interrupted=""))
"""
