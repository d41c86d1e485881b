"""Progress on terminals, and where nothing can be drawn again."""

import io
import os
import pty
import sys
import termios
import time

import jax
import jax.numpy as jnp
import pytest

from aejax.runtime import compilation, progress


def shown(monkeypatch, stream):
    """All that a bar of three steps and a warning write."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "_SECONDS_PER_LINE", 0.01)
    with progress.bar(total=3, desc="training", unit="step") as bar:
        for step in range(3):
            time.sleep(0.02)
            bar.update()
            if step == 1:
                progress.warn("so it is")


def test_a_log_has_whole_lines(monkeypatch):
    stream = io.StringIO()
    shown(monkeypatch, stream)
    assert "\r" not in stream.getvalue()
    lines = stream.getvalue().splitlines()
    assert [line.partition(" [")[0] for line in lines] == [
        "training:  33%|| 1/3",
        "training:  67%|| 2/3",
        "warning: so it is",
        "training: 100%|| 3/3",
    ]


@pytest.mark.parametrize(
    ("rows", "term", "redraws"),
    [(24, "xterm", True), (24, "dumb", False), (0, "xterm", False), (1, "xterm", False)],
)
def test_a_terminal_without_rows_gets_lines(monkeypatch, rows, term, redraws):
    monkeypatch.setenv("TERM", term)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (rows, 80))
    with os.fdopen(theirs, "w") as stream:
        assert progress._redraws(stream) == redraws
    os.close(ours)


@pytest.fixture
def times(tmp_path):
    """The file of times, in an empty cache."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "aejax_seconds.json"
    jax.config.update("jax_compilation_cache_dir", before)


def lowered(steps):
    """A program with a constant."""
    return jax.jit(lambda x: x * jnp.float32(steps)).lower(jnp.float32(1))


def test_compiling_says_how_long_it_took(times, monkeypatch, capsys):
    compilation.compiled(lowered(3), "the step")
    assert capsys.readouterr().out == "compiling the step\n"
    (key,) = compilation._seconds()
    times.write_text(f'{{"{key}": 60.0, "other": "damaged"}}')
    assert compilation.compiled(lowered(4), "the step")(jnp.float32(2)) == 8
    says = "compiling the step; it took 60.0 s last time, unless cached\n"
    assert capsys.readouterr().out == says
    assert compilation._seconds() == {key: 60.0}  # a moment: it came from the cache
    for damage in ("", "[1]", "{", "x" * 100_000):
        times.write_text(damage)
        compilation.compiled(lowered(5), "the step")
        assert capsys.readouterr().out == "compiling the step\n"
        assert list(compilation._seconds()) == [key]
