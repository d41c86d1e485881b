"""``--dry_run``: the plan of a run or a sweep, which trains and writes nothing."""

import re

import pytest

from aejax import experiment, main
from aejax.prepare import open_experiment
from aejax.sweeps import plan, sweep


def test_a_dry_run_prints_the_plan_and_leaves_nothing(small_config, tmp_path, capsys):
    small_config.train.steps = 1000
    members = plan.make_members(
        small_config, [{"model.latent_dim": size} for size in (4, 8)], lambda *_: ""
    )
    sweep.dry_run(members, tmp_path / "sweep", mode="auto", jobs=1)
    text = capsys.readouterr().out
    for line in (
        "sweep: 2 experiments, 1 compiled program",
        "latent_dim=8: 1,000 steps of 8 excerpts of 0.368 s:",
        "excerpts        [8, 5888]",
        "features        [8, 24, 80]",
        "latents         [8, 3, 8]  7.812 latent frames/s, 62.5 latent floats/s",
        "reconstruction  [8, 24, 80]",
    ):
        assert line in text
    (parameters,) = re.findall(r"update +([0-9,]+) parameters; training state of", text)
    assert f"s; {parameters} parameters" in text
    (memory,) = re.findall(r"memory +([0-9,]+) MB of state, batch and step, as compiled", text)
    (flops,) = re.findall(r"FLOPs +([0-9.,]+) billion a step", text)
    assert int(memory) > 0
    assert float(flops) > 0.001
    assert re.search(r"time .*: 1,000 steps of [0-9.e-]+ s x 2 runs, timed here on silence", text)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("flags")
def test_the_flag(monkeypatch, tmp_path, capsys):
    calls = []
    monkeypatch.setattr(experiment, "dry_run", lambda *args: calls.append(args))
    monkeypatch.setattr(sweep, "dry_run", lambda members, *_, **__: calls.append(len(members)))
    words = ["x", "--config=experiments/mel_conv.py", "--dry_run", f"--workdir={tmp_path}"]
    monkeypatch.setattr("sys.argv", words)
    assert main.main(words) == 0
    assert [path for _, path in calls] == [tmp_path]


def test_what_is_too_short_or_too_small_is_warned_of(small_config, tmp_path, capsys):
    """Steps fewer than the warm-up; splits of few files."""
    directory = experiment.begin(small_config, tmp_path / "run")
    (line,) = open_experiment(small_config, directory).warnings
    assert line.startswith("training is 6 updates, and train.warmup_steps=50:")
    said = capsys.readouterr()
    assert said.err == f"warning: {line}\n"
    assert "test has 5 files, 5.0 seconds: too little" in said.out
    assert "at least 10 files and 60 seconds" in said.out
    small_config.train.warmup_steps = 5
    directory = experiment.begin(small_config, tmp_path / "run")
    assert open_experiment(small_config, directory).warnings == []
