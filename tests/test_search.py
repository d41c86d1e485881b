"""Searches: which spaces there are, who works on which trial, and what comes of them."""

import json
import math
import os
import signal
import subprocess
import sys

import optuna
import pytest
import searched
from conftest import REPOSITORY, shrink

from aejax import config as config_module
from aejax import experiment
from aejax.runtime.errors import Interrupted, UserError
from aejax.sweeps import search
from aejax.sweeps.search import Choice, Range, parse_space
from aejax.sweeps.search.space import rate_of


@pytest.fixture
def config():
    return config_module.default()


@pytest.mark.parametrize(
    ("word", "parsed"),
    [
        ("model.latent_dim=4..128:log", Range(4, 128, log=True)),
        ("model.latent_dim=4..128", Range(4, 128)),
        ("train.learning_rate=1e-4..1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("train.weight_decay=0..1", Range(0.0, 1.0)),
        ("train.weight_decay=.5...75", Range(0.5, 0.75)),
        ("evaluate.refine_steps=-3..-1", Range(-3, -1)),
        ("data.silence_db=-80..-40.5", Range(-80.0, -40.5)),
        ("model.encoder=conv,mlp", Choice(("conv", "mlp"))),
        ("model.conv.width=64,128", Choice((64, 128))),
        ("model.conv.dropout=0,0.1", Choice((0.0, 0.1))),
        ("model.pca_start=true,False", Choice((True, False))),
        ("model.fsq.levels=(8,),(4,16)", Choice(((8,), (4, 16)))),
        ("data.path=../a,../b", Choice(("../a", "../b"))),
    ],
)
def test_a_space_has_the_types_of_its_keys(word, parsed, config):
    key = word.partition("=")[0]
    [(name, values)] = parse_space(f"  {word} ", config).items()
    assert (name, values) == (key, parsed)
    inside = [values.low, values.high] if isinstance(values, Range) else values.values
    assert {type(x) for x in inside} == {type(config_module.flatten(config)[key])}
    assert parse_space(f"{key}={values}", config) == {key: values}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("model.latent_dim", "must be KEY=LOW..HIGH"),
        ("model.latent_dim=", "must be KEY=LOW..HIGH"),
        ("model.latent_dims=1..2", "did you mean model.latent_dim"),
        ("model=1..2", "unknown config key model"),
        ("model.conv.width=1..2 model.conv.width=4,8", "model.conv.width occurs twice"),
        ("model.conv.width=8..4", "8 is not below 4"),
        ("model.conv.width=4..4", "4 is not below 4"),
        ("train.weight_decay=0..1:log", "a logarithm needs a range above 0"),
        ("train.weight_decay=0..1:exp", "only ':log' may follow"),
        ("model.conv.width=1.5..4", "'1.5' is not an integer"),
        ("model.conv.width=4..", "must be LOW..HIGH"),
        ("model.conv.width=a..b", "must be LOW..HIGH"),
        ("train.weight_decay=1..1e999", "'1e999' is not a number"),
        ("train.weight_decay=1...2...3", "must be LOW..HIGH"),
        ("train.weight_decay=0,nan", "'nan' is not a number"),
        ("model.conv.width=4,", "'' is not an integer"),
        ("model.conv.width=4", "two or more values"),
        ("model.encoder=conv,conv", "has a value twice"),
        ("model.encoder=1..2", "a str has no range"),
        ("model.pca_start=0..1", "a bool has no range"),
        ("model.pca_start=yes,no", "'yes' is neither true nor false"),
        ("model.wave_conv.strides=4,8", "the values must be tuples"),
        ("model.wave_conv.strides=(4,8,[]),(4,)", "the values must be tuples"),
        ("model.wave_conv.strides=(4,8", "the values must be tuples"),
        ("model.wave_conv.strides=" + "(" * 300, "the values must be tuples"),
        ("representation.name=mel,mdct", "not comparable"),
    ],
)
def test_a_space_that_makes_no_sense_is_one_line(text, says, config):
    with pytest.raises(UserError) as caught:
        parse_space(text, config)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bottleneck", "space", "rate", "varies"),
    [
        ("none", "model.conv.width=8,16", "latent_floats_per_second", False),
        ("none", "model.latent_dim=8,16", "latent_floats_per_second", True),
        ("none", "model.bottleneck=none,fsq", "latent_floats_per_second", False),
        ("fsq", "model.conv.width=8,16", "bits_per_second", False),
        ("fsq", "model.fsq.levels=(8,),(4,)", "bits_per_second", True),
        ("vae", "model.bottleneck=fsq,vq", "bits_per_second", True),
    ],
)
def test_the_latent_rate_is_an_objective_where_it_can_differ(
    bottleneck, space, rate, varies, config
):
    config.model.bottleneck = bottleneck
    assert rate_of(config, parse_space(space, config)) == (rate, varies)


def run(config, count, space, root, train=searched.pretend):
    search.run(config, count, parse_space(space, config), root, train, command="the command")
    return json.loads((root / "search.json").read_text())


def test_the_front_is_what_nothing_is_better_than(config, tmp_path, capsys):
    found = run(config, 8, searched.SPACE, tmp_path)
    trials = found["trials"]
    assert [trial["trial"] for trial in trials] == list(range(8))
    assert {trial["state"] for trial in trials} == {"finished"}
    for trial in trials:
        latent_dim = trial["overrides"]["model.latent_dim"]
        assert trial["rate"] == latent_dim * 7.8125
        off = abs(trial["overrides"]["train.learning_rate"] - 1e-3)
        assert trial["error"] == pytest.approx(10 / latent_dim + off)  # not that of another step
    front = {
        one["trial"]
        for one in trials
        if not any(
            other["error"] <= one["error"] and other["rate"] <= one["rate"] and other is not one
            for other in trials
        )
    }
    assert set(found["best"]) == front
    rates = [trials[number]["rate"] for number in found["best"]]
    assert rates == sorted(rates)
    printed = capsys.readouterr().out
    assert all(f"trial_{number:04}  " in printed.partition("8 trials:")[2] for number in front)
    # Ended, it adds nothing; with more trials it goes on.
    assert run(config, 8, searched.SPACE, tmp_path) == found
    assert run(config, 9, searched.SPACE, tmp_path)["trials"][:8] == trials


def test_with_one_rate_the_best_comes_first_and_is_found(config, tmp_path, capsys):
    space = "train.learning_rate=1e-5..1:log model.encoder=conv,mlp"
    found = run(config, 30, space, tmp_path)
    errors = [trial["error"] for trial in found["trials"]]
    assert found["best"] == [errors.index(min(errors))]
    table = capsys.readouterr().out.partition("30 trials: 30 finished; best first")[2]
    assert table.index(f"trial_{found['best'][0]:04}") == table.index("trial_")
    # What was learnt from the first ten, which are drawn at random, shows in the last ten.
    rates = [trial["overrides"]["train.learning_rate"] for trial in found["trials"]]
    distances = [abs(math.log(rate / 1e-3)) for rate in rates]
    assert sum(distances[20:]) < 0.6 * sum(distances[:10])


def test_a_search_by_one_worker_is_repeatable(config, tmp_path):
    first, second = (run(config, 12, searched.SPACE, tmp_path / name) for name in "ab")
    assert first == second
    config.seed = 100
    assert run(config, 12, searched.SPACE, tmp_path / "c") != first


def test_a_refused_trial_is_over_and_the_others_go_on(config, tmp_path, capsys):
    space = (
        "model.encoder=conv,lstm,wave_conv train.warmup_steps=8,16"  # wave_conv takes a waveform
    )
    found = run(config, 9, space, tmp_path)
    for trial in found["trials"]:
        refused = trial["overrides"]["model.encoder"] == "wave_conv"
        assert trial["state"] == ("refused" if refused else "finished")
        assert ("needs representation.name='waveform'" in trial["reason"]) == refused
        assert (trial["error"] is None) == refused
        assert (tmp_path / trial["folder"]).exists() != refused
    printed = capsys.readouterr()
    assert printed.err.count("is refused: config.model.encoder=") == sum(
        trial["state"] == "refused" for trial in found["trials"]
    )
    assert "refused" in printed.out


def test_a_search_that_is_refused_throughout_ends(config, tmp_path):
    def train(config, folder):
        raise UserError("no audio there")

    with pytest.raises(UserError, match="all 10 trials were refused, the last since no audio"):
        run(config, 100, searched.SPACE, tmp_path, train)


def test_a_trial_that_fails_is_tried_once_more(config, tmp_path, capsys):
    calls = []

    def train(config, folder):
        calls.append(folder.name)
        if folder.name == "trial_0001" or (
            folder.name == "trial_0003" and calls[-2:-1] != calls[-1:]
        ):
            raise ValueError("a defect\nof it")
        searched.pretend(config, folder)

    found = run(config, 5, searched.SPACE, tmp_path, train)
    assert calls == [f"trial_000{number}" for number in (0, 1, 1, 2, 3, 3, 4)]
    states = [trial["state"] for trial in found["trials"]]
    assert states == ["finished", "failed", "finished", "finished", "finished"]
    assert found["trials"][1]["reason"] == "ValueError: a defect of it"
    printed = capsys.readouterr().err
    assert "warning: trial_0001 failed: ValueError: a defect of it\n" in printed
    assert "warning: trial_0003 failed (ValueError: a defect of it); retrying" in printed


def test_a_run_that_leaves_no_error_has_failed(config, tmp_path):
    def train(config, folder):
        folder.mkdir(exist_ok=True)
        searched.write_results(folder, config.name, math.nan, 1.0)

    found = run(config, 1, searched.SPACE, tmp_path, train)
    assert found["trials"][0]["state"] == "failed"
    assert found["trials"][0]["reason"] == "ValueError: the error of step 20 is not finite"


@pytest.mark.parametrize("stop", [Interrupted("saved"), KeyboardInterrupt()])
def test_an_interrupted_trial_goes_on_the_next_time(stop, config, tmp_path):
    seen = []

    def train(config, folder):
        seen.append((folder.name, config.model.latent_dim, config.train.learning_rate))
        if len(seen) == 3:
            raise stop
        searched.pretend(config, folder)

    with pytest.raises(type(stop)):
        run(config, 5, searched.SPACE, tmp_path, train)
    found = run(config, 5, searched.SPACE, tmp_path, train)
    assert seen[2] == seen[3]
    assert [trial["state"] for trial in found["trials"]] == ["finished"] * 5
    assert found == run(config, 5, searched.SPACE, tmp_path / "whole") | {}


def start(root, count, way):
    path = f"{REPOSITORY}:{REPOSITORY / 'tests'}"
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "tests" / "searched.py"), str(root), str(count), way],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_workers_share_a_search(tmp_path):
    workers = [start(tmp_path, 14, "slow") for _ in range(2)]
    printed = [worker.communicate(timeout=60)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], printed
    found = json.loads((tmp_path / "search.json").read_text())
    assert [trial["state"] for trial in found["trials"]] == ["finished"] * 14
    by = [(tmp_path / trial["folder"] / "trained").read_text().split() for trial in found["trials"]]
    assert all(len(pids) == 1 for pids in by)  # each trial once
    assert {pid for [pid] in by} == {str(worker.pid) for worker in workers}


def test_a_killed_workers_trial_is_taken_over(config, tmp_path):
    worker = start(tmp_path, 6, "die")
    worker.communicate(timeout=60)
    assert worker.returncode == -signal.SIGKILL
    found = run(config, 6, searched.SPACE, tmp_path)
    assert [trial["state"] for trial in found["trials"]] == ["finished"] * 6
    begun = json.loads((tmp_path / "trial_0002" / "begun").read_text())
    assert found["trials"][2]["overrides"]["model.latent_dim"] == begun
    assert found == run(config, 6, searched.SPACE, tmp_path / "whole")


def test_a_trial_killed_before_all_of_it_was_chosen_is_chosen_to_the_end(
    config, tmp_path, monkeypatch
):
    chosen = Range.suggest

    def suggest(self, trial, key):
        if key == "train.learning_rate" and trial.number == 1:
            raise KeyboardInterrupt
        return chosen(self, trial, key)

    monkeypatch.setattr(Range, "suggest", suggest)
    with pytest.raises(KeyboardInterrupt):
        run(config, 3, searched.SPACE, tmp_path)
    monkeypatch.undo()
    found = run(config, 3, searched.SPACE, tmp_path)
    assert [trial["state"] for trial in found["trials"]] == ["finished"] * 3
    assert all(len(trial["overrides"]) == 2 for trial in found["trials"])


def test_another_search_in_the_same_folder_is_refused(config, tmp_path):
    run(config, 1, searched.SPACE, tmp_path)
    with pytest.raises(
        UserError, match=r"another search .*search_space model\.conv\.width: None there"
    ):
        run(config, 1, searched.SPACE + " model.conv.width=8,16", tmp_path)
    config.train.steps = 7
    with pytest.raises(UserError, match=r"--config\.train\.steps: 1000 there, 7 now"):
        run(config, 1, searched.SPACE, tmp_path)


def test_the_folder_of_a_run_is_no_place_for_a_search(config, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run, not a search"):
        run(config, 1, searched.SPACE, tmp_path)


DAMAGE = {
    "no lines": b"\x00\xff" * 50 + b"\n" + b"{}\n",
    "lists": b"[]\n[]\n",
    "half a line amid": b'{"op_code": 0, "wor\n{"op_code": 0}\n',
    "unknown": b'{"op_code": 99, "worker_id": "a"}\n',
    "deep": b"[" * 100_000 + b"\n{}\n",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("first", [True, False], ids=["alone", "after a search"])
def test_a_damaged_journal_is_one_line(damage, first, config, tmp_path):
    if not first:
        run(config, 2, searched.SPACE, tmp_path)
    with (tmp_path / "search.journal").open("ab") as file:
        file.write(damage)
    with pytest.raises(
        UserError, match=r"search\.journal cannot be read .*; move it away"
    ) as error:
        run(config, 3, searched.SPACE, tmp_path)
    assert "\n" not in str(error.value)


def test_half_a_line_at_the_end_is_dropped(config, tmp_path):
    run(config, 2, searched.SPACE, tmp_path)
    with (tmp_path / "search.journal").open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    found = run(config, 4, searched.SPACE, tmp_path)
    assert [trial["state"] for trial in found["trials"]] == ["finished"] * 4
    assert found == run(config, 4, searched.SPACE, tmp_path / "whole")


def test_errors_of_different_features_are_warned_of(config, tmp_path, capsys):
    run(config, 1, "representation.mel.n_mels=40,80", tmp_path)
    assert (
        "trials that differ in representation.mel.n_mels have errors of" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_a_search_of_real_runs(config, tmp_path):
    config = shrink(config)
    config.model.encoder = "linear"
    config.model.conv.update(config_module.default().model.conv)
    found = run(config, 2, "model.latent_dim=4..16:log", tmp_path, experiment.run)
    for trial in found["trials"]:
        assert trial["state"] == "finished", trial["reason"]
        folder = tmp_path / trial["folder"]
        saved = json.loads((folder / "config.json").read_text())
        assert saved["model"]["latent_dim"] == trial["overrides"]["model.latent_dim"]
        [row] = [
            row
            for row in json.loads((folder / "results.json").read_text())["rows"]
            if row["name"] == config.name
        ]
        assert trial["rate"] == row["latent_floats_per_second"]
        assert trial["error"] == pytest.approx(row["feature_rmse"], rel=0.5)  # of another split
    assert len(found["best"]) >= 1


def test_without_optuna_it_says_how_to_get_it(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[search\]'"):
        run(config, 1, searched.SPACE, tmp_path)


def test_no_trials_are_refused(config, tmp_path):
    with pytest.raises(UserError, match="--search=0 must be at least 1"):
        run(config, 0, searched.SPACE, tmp_path)


def test_optuna_is_imported_when_a_search_begins():
    script = "import sys, aejax.sweeps.search; sys.exit('optuna' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert optuna.__version__ >= "4"
