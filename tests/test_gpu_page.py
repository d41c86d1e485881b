"""The page of benchmarks/accelerator.py: of a device, where PyTorch need not be installed."""

import importlib
import importlib.util
import subprocess
import sys

import pytest
from conftest import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"


@pytest.fixture
def gpu_page(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("gpu_page")
    for name in module.ENVIRONMENT:
        monkeypatch.setenv(name, "")  # to be as it was after the test
    return module


def test_what_fails_or_has_no_time_is_a_line_of_the_page(gpu_page, tmp_path, monkeypatch, capfd):
    """And what was printed until then is kept, at once, and the other sections are there."""
    page = tmp_path / "pages" / "cpu.md"
    scripts = {
        "Fails": "print('half', flush=True); raise ValueError('no such card')",
        "Works": "import os; print(os.environ['XLA_PYTHON_CLIENT_PREALLOCATE']);"
        f"print(open('{page}').read().count('half'))",
        "Hangs": "import time; print('a row'); time.sleep(1000)",
        "Waits": "print('never')",
    }
    for title, text in scripts.items():
        (tmp_path / title).write_text(text)
    commands = {title: (str(tmp_path / title),) for title in scripts}
    monkeypatch.setattr(gpu_page, "sections", lambda small: commands)
    assert gpu_page.write_page(tmp_path / "pages", minutes=0.25) == 1
    assert [*page.parent.iterdir()] == [page]
    _, *parts = page.read_text().split("\n## ")
    assert [" ".join(part.split()) for part in parts] == [
        "Fails ``` half ``` **failed: ValueError: no such card**",
        "Works ``` false 1 ```",
        "Hangs ``` a row ``` **cut off: no time was left**",
        "Waits **left out: no time was left**",
    ]
    assert "Fails failed: ValueError: no such card" in capfd.readouterr().err


def test_a_row_that_fails_leaves_the_others(gpu_page, capsys):
    def measure(title, dtype):
        if title == "b":
            raise RuntimeError("out of memory\nwith details")
        if title == "c":
            raise SystemExit("the twin is not the same model")
        return title, dtype

    with pytest.raises(SystemExit, match="b, float32: RuntimeError: out of memory; c") as end:
        gpu_page.table(["", ""], [(title, "float32") for title in "abcd"], measure)
    assert str(end.value).endswith("; c, float32: SystemExit: the twin is not the same model")
    assert capsys.readouterr().out.splitlines()[2:] == ["| a | float32 |", "| d | float32 |"]


@pytest.mark.slow
def test_every_section_is_measured_in_small(environment, tmp_path):
    command = [sys.executable, BENCHMARKS / "accelerator.py", "--small", f"--out={tmp_path}"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stderr[-2000:]
    head, *parts = (tmp_path / "cpu.md").read_text().split("\n## ")
    sections = dict(part.split("\n", 1) for part in parts)
    assert head.startswith("# aejax on cpu\n")
    assert "TF32" in head
    rows = {title: text.count("\n| `mel_conv`") for title, text in sections.items()}
    torch = importlib.util.find_spec("torch") is not None
    assert rows == {
        "Train steps": 2,
        "A population": 1,
        "Transforms": 0,
        "The default run": 0,
        "Beside PyTorch": 2 * torch,
    }
    assert "  evaluate  " in sections["The default run"]
    if torch:
        assert "  log-mel  " in sections["Transforms"]
    else:
        assert "not installed" in sections["Transforms"]
        assert "not installed" in sections["Beside PyTorch"]
