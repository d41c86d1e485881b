"""Signals, in processes of their own."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY

BEGIN = """
import gc, os, pathlib, sys, threading, time
from aejax.runtime.errors import Interrupted, exit_code
from aejax.runtime import files, stopping

stopping.listen("it goes on")

def ready():
    print("ready", flush=True)

def run():
{}

stopping.leave(exit_code(run, interrupted="it went on"))
"""
# Each is in the middle of something when the signal comes.
WORK = {
    "python": """
        ready()
        while True:
            pass
    """,
    "a callback of the garbage collector": """
        gc.callbacks.append(lambda *_: time.sleep(0.05))
        ready()
        while True:
            gc.collect()
    """,
    "whoever catches all": """
        ready()
        while True:
            try:
                time.sleep(600)
            except BaseException:
                pass
    """,
    "a thread that is waited for": """
        threading.Thread(target=time.sleep, args=[600]).start()
        ready()
    """,
    "a reader that reads no more": """
        ready()
        while True:
            sys.stdout.write("x" * 100_000)
    """,
    "a file": """
        with files.atomic_write(pathlib.Path("whole")) as beside:
            beside.write_text("half")
            ready()
            time.sleep(600)
    """,
    "a folder": """
        with files.atomic_folder(pathlib.Path("whole")) as beside:
            (beside / "half").touch()
            ready()
            time.sleep(600)
    """,
    "a block that asks, for the second time": """
        with stopping.graceful() as asked:
            ready()
            while not asked():
                pass
            ready()
            time.sleep(600)
    """,
}
SAYS = {
    signal.SIGINT: "error: interrupted; it goes on\n",
    signal.SIGTERM: "by SIGTERM; it goes on\n",
}


def start(work, folder):
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN.format(work)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def send(process, number):
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)


@pytest.mark.parametrize("what", WORK)
def test_whatever_it_does_it_ends_at_once_with_a_line(tmp_path, what):
    number = signal.SIGTERM if "file" in what else signal.SIGINT
    process = start(WORK[what], tmp_path)
    begin = time.monotonic()
    send(process, number)
    if "second" in what:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(number)
    assert process.wait(timeout=20) == 128 + number
    assert time.monotonic() - begin < 15
    assert process.stderr.read().endswith(SAYS[number])
    assert not list(tmp_path.iterdir())
    process.stdout.close()


GRACEFUL = """
    with stopping.graceful() as asked:
        ready()
        while not asked():
            pass
        pathlib.Path("saved").touch()
        {}
"""


@pytest.mark.parametrize("number", SAYS)
def test_where_it_asks_it_ends_as_it_likes(tmp_path, number):
    process = start(GRACEFUL.format('raise Interrupted("saved", asked())'), tmp_path)
    send(process, number)
    process.send_signal(number)  # of the same Ctrl-C, from a wrapper
    _, printed = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert printed == "error: saved\n"
    assert (tmp_path / "saved").exists()


def test_what_came_after_the_last_look_is_not_lost(tmp_path):
    process = start(GRACEFUL.format("pass") + "    time.sleep(600)", tmp_path)
    send(process, signal.SIGINT)
    _, printed = process.communicate(timeout=20)
    assert process.returncode == 130
    assert printed == SAYS[signal.SIGINT]


def test_what_is_forked_has_the_ways_of_a_new_process(tmp_path):
    work = """
    child = os.fork()
    if not child:
        time.sleep(600)
    time.sleep(0.5)
    os.kill(child, 15)
    assert os.waitpid(child, 0)[1] == 15
    print("still here")
    """
    process = start(work, tmp_path)
    printed, errors = process.communicate(timeout=20)
    assert (process.returncode, printed, errors) == (0, "still here\n", "")


@pytest.mark.parametrize("module", ["aejax", "aejax.main", "aejax.cli"])
def test_while_a_program_imports_there_is_no_traceback(tmp_path, module):
    """The import of numpy, the first of what takes time, stands still."""
    (tmp_path / "numpy.py").write_text("import time; print('ready', flush=True); time.sleep(600)")
    process = subprocess.Popen(
        [sys.executable, "-m", module, "inspect", "."],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    send(process, signal.SIGINT)
    _, printed = process.communicate(timeout=20)
    assert process.returncode == 130
    assert printed.startswith("error: interrupted; run the same command to resume")
    assert printed.count("\n") == 1
