"""The tables of docs/results.md, from runs that are made up."""

import dataclasses
import datetime
import importlib
import json
import runpy

import numpy as np
import pytest
from conftest import REPOSITORY

from aejax import config as config_module

BENCHMARKS = REPOSITORY / "benchmarks"


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The script's names, with its page in another place."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    names = runpy.run_path(str(BENCHMARKS / "results.py"))
    for function in ("write", "draw"):
        monkeypatch.setitem(names[function].__globals__, "PAGE", tmp_path / "results.md")
    return names


class Rows(dict):
    """A row of any name, each with numbers of its own."""

    def __init__(self, number):
        self.number = number

    def __missing__(self, name):
        return {
            "name": name,
            "gain_over_pca_db": self.number,
            "feature_rmse": 10 + self.number,
            "audio_log_mel_rmse_db": 20 + self.number,
            "si_sdr_db": None,
            "bits_per_second": 500.0,
            "codebook_utilisation": 0.5,
            "perplexity": 3.0,
            "bitrate_efficiency": 0.25,
        }

    def items(self):
        return [(name, self[name]) for name in ("pca", "mel_rvq", "mel_rvq, 2 codebooks")]


@pytest.fixture
def runner(results):
    """Takes every run for done, the first with gains from 1 to 3 dB, the next from 2 to 4."""

    def run(asked):
        run.asked.append(asked)
        once = importlib.import_module("runs").Once
        first = float(len(run.asked))
        seeds = (first, first + 1.5, first + 2)
        return results["Measured"](
            tuple(once(Rows(x), ("a", "b"), (1.0, 2.0), 1.5, 2.5, 30.0, 4000) for x in seeds)
        )

    run.asked = []
    return run


@pytest.mark.parametrize("section", ["lead", "roche", "representations", "ordered", "bits"])
def test_every_run_of_a_section_is_a_config_that_works(results, runner, section):
    results["SECTIONS"][section](runner)
    names = [asked.name for asked in runner.asked]
    assert len(set(names)) == len(names) >= 5
    for asked in runner.asked:
        config = asked.config()
        config_module.validate(config_module.override(config_module.default(), config))


def test_the_lead_has_means_of_seeds_with_their_spread(results, runner):
    lines = results["lead"](runner).splitlines()
    speech = next(line for line in lines if line.startswith("| speech | speech, refined"))
    cells = [cell.strip(" *") for cell in speech.split("|")[3:8]]
    means = [x + 3.5 / 3 for x in (1.0, 2.0, 3.0, 4.0)]
    assert cells == [*(f"{x:+.2f} ± 1.00" for x in means), f"{np.mean(means):+.2f}"]
    assert any("validation clips of the splits 0, 1, 2" in line for line in lines)
    assert any("test clips of split 7" in line for line in lines)


@pytest.fixture
def fake(results, tmp_path):
    """A runner whose runs are made up, and what was run."""
    runner = results["Runner"](tmp_path / "audio", tmp_path / "runs")
    run = []

    def measure(asked, workdir):
        run.append(asked.name)
        workdir.mkdir(parents=True)
        (workdir / "results.json").write_text(f'{{"rows": [{{"name": "pca", "run": {len(run)}}}]}}')
        splits = '{"splits": {"test": {"folders": ["a", "b"]}}}'
        (workdir / "corpus.json").write_text(splits)
        keys = ("validation/feature_rmse", "validation/pca_feature_rmse")
        lines = [{"step": 0}, *(dict(zip(keys, (error, 4.0), strict=True)) for error in (2, 1, 3))]
        (workdir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return {"cpu_minutes": 1.0, "memory_mb": 2, "step_ms": 3.0, "parameters": 4}

    runner._measure = measure
    return runner, run


def test_a_run_is_run_again_if_its_keys_have_changed_and_not_otherwise(results, fake):
    runner, run = fake
    asked = results["Run"]("name", "mel_conv", ("model.latent_dim=4",))
    for expected in ([1, 2, 3], [1, 2, 3]):
        found = runner(asked)
        assert [once.rows["pca"]["run"] for once in found.seeds] == expected
        assert found.seeds[0].tested == ("a", "b")
    assert run == ["name_seed0", "name_seed1", "name_seed2"]
    assert len(set(runner.commands)) == 3
    assert all("--config.data.split_seed=7" in command for command in runner.commands)
    other = dataclasses.replace(asked, name="name_seed1", keys=("seed=1", "model.latent_dim=8"))
    runner.finish(other)
    assert run[3:] == ["name_seed1"]


def test_a_row_whose_settings_changed_after_a_look_is_refused(results, fake, tmp_path):
    """Not before a look, not for another seed or place, and not on a split without a look."""
    runner, run = fake
    row = results["Run"]("row", "mel_conv", ("train.weight_decay=2.0",))
    runner(row)
    looks = [json.loads(line) for line in (tmp_path / "runs" / "looks.jsonl").open()]
    assert [look["row"] for look in looks] == ["row"]
    assert looks[0]["settings"]["train.weight_decay"] == 2.0
    assert datetime.datetime.fromisoformat(looks[0]["date"]).tzinfo is not None
    changed = dataclasses.replace(row, keys=("train.weight_decay=1.0", "model.latent_dim=4"))
    begun = list(run)
    with pytest.raises(SystemExit) as refused:
        results["Runner"](tmp_path / "audio", tmp_path / "runs")(changed)
    message = str(refused.value)
    assert message.startswith("row: changed since its test clips were looked at on 20")
    assert "model.latent_dim from 32 to 4, train.weight_decay from 2.0 to 1.0" in message
    assert "--choose" in message
    assert "\n" not in message
    assert run == begun
    runner(dataclasses.replace(row, keys=(*row.keys, "data.path=elsewhere", "name=other")))
    runner(dataclasses.replace(changed, name="another row"))
    runner.looks.check("row", changed.config() | {"data.split_seed": 8})
    for known in ({"a new key": 1}, {"a new key": 2}):  # as a later version of aejax has it
        fresh = type(runner.looks)(tmp_path / "runs", known)
        config = runner.looks._read()[0]["settings"] | {"a new key": 1}
        if known["a new key"] == 1:
            fresh.check("row", config)
        else:
            with pytest.raises(SystemExit, match="a new key from 2 to 1"):
                fresh.check("row", config)


def test_settings_are_chosen_on_validation_alone(results, fake, tmp_path):
    runner, run = fake
    said = results["choose"](runner, "speech", ("train.weight_decay=1.0",))
    assert len(run) == 3
    assert "| mean |  |  | **+12.04** |" in said
    assert said.count("| 1.000 | 4.000 | +12.04 |") == 3
    assert not (tmp_path / "runs" / "looks.jsonl").exists()
    asked = [json.loads(path.read_text())["asked"] for path in (tmp_path / "runs").glob("*.json")]
    assert {keys["data.split_seed"] for _, keys in asked} == {"0", "1", "2"}
    assert {keys["data.path"] for _, keys in asked} == {"AUDIO/speech"}


def test_a_section_is_written_between_its_marks_and_again_in_its_place(results, tmp_path):
    results["write"]("lead", "first", ["python a", "python a"])
    results["write"]("bits", "other", ["python -m other"])
    results["write"]("lead", "second", ["python c"])
    page = (tmp_path / "results.md").read_text()
    assert "first" not in page
    assert page.index("second") < page.index("python c") < page.index("other")
    assert page.count("<!-- lead -->") == page.count("<!-- end of lead -->") == 1
    assert page.count("python -m other") == 1
