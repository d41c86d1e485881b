"""``--profile=N``: a trace of N training steps."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from aejax import experiment
from aejax.main import main
from aejax.runtime.errors import UserError
from aejax.sweeps import search, sweep
from aejax.training.profiler import check, profiled


def test_the_trace_has_the_steps_after_the_first_ones(tmp_path, capsys):
    step = jax.jit(lambda state, batch: (state + batch, state))
    state, batch = jnp.float32(0), jnp.float32(1)
    with profiled(step, tmp_path, 2) as traced, jax.transfer_guard("disallow"):
        for _ in range(6):
            state, _ = traced(state, batch)
    assert float(state) == 6
    (trace,) = (tmp_path / "profile").rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    numbers = [x["args"]["step_num"] for x in events if x.get("name") == "train_step"]
    assert sorted(map(int, numbers)) == [3, 4]
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert list((tmp_path / "profile").rglob("perfetto_trace.json.gz"))
    assert f"profile of 2 steps: {tmp_path / 'profile'};" in capsys.readouterr().out


def test_a_run_that_ends_early_has_a_shorter_trace(tmp_path, capsys):
    with profiled(lambda *_: (0, 0), tmp_path, 9) as step:
        for _ in range(4):
            step(0, 0)
    assert "profile of 1 step: " in capsys.readouterr().out


def test_too_few_steps_are_refused():
    with pytest.raises(UserError, match="--profile=4 needs 7 steps, as the first 3 are not traced"):
        check(4, left=6)
    check(3, left=6)
    check(0, left=0)


@pytest.mark.usefixtures("flags")
@pytest.mark.parametrize("other", ["--sweep=seed=0,1", "--search=3", "--dry_run", "--profile=0"])
def test_flags_that_exclude_a_profile(other, monkeypatch, tmp_path, capsys):
    words = ["x", "--config=experiments/mel_conv.py", "--profile=2", other, f"--workdir={tmp_path}"]
    monkeypatch.setattr("sys.argv", words)
    for module in (experiment, search, sweep):
        monkeypatch.setattr(module, "run", lambda *_, **__: pytest.fail("it has begun"))
    assert main(words) == 1
    assert capsys.readouterr().err.startswith("error: --profile")
    assert not list(tmp_path.iterdir())
