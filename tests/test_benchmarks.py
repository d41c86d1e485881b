"""The tables of docs/results.md, from runs that are made up."""

import runpy

import numpy as np
import pytest
from conftest import REPOSITORY

from aejax import config as config_module

SCRIPT = REPOSITORY / "benchmarks" / "results.py"


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The script's names, with its page in another place."""
    names = runpy.run_path(str(SCRIPT))
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
    """Takes every run for done, the first with a gain of 1 dB, the next with 2; keeps them."""

    def run(asked):
        run.asked.append(asked)
        return results["Measured"](Rows(float(len(run.asked))), ("a", "b"), 1.5, 2.5, 30.0, 4000)

    run.asked = []
    return run


def members(asked):
    """The configs that the command of a run stands for."""
    path = REPOSITORY / "experiments" / f"{asked.experiment}.py"
    config = runpy.run_path(str(path))["get_config"]()
    for key in asked.keys:
        name, _, value = key.partition("=")
        current = config_module.flatten(config)[name]
        value = value if isinstance(current, str) else eval(value)  # noqa: S307  ours
        with config.ignore_type():
            config.update_from_flattened_dict({name: type(current)(value)})
    return config


@pytest.mark.parametrize("section", ["lead", "roche", "representations", "ordered", "bits"])
def test_every_run_of_a_section_is_a_config_that_works(results, runner, section):
    results["SECTIONS"][section](runner)
    names = [asked.name for asked in runner.asked]
    assert len(set(names)) == len(names) >= 5
    for asked in runner.asked:
        config_module.validate(members(asked))


def test_the_lead_is_the_mean_over_sizes_of_the_first_seed(results, runner):
    lines = results["lead"](runner).splitlines()
    speech = next(line for line in lines if line.startswith("| speech | mel_conv, refined"))
    # 8, three seeds of 16, 32, 64: in this order they are run.
    expected = [1.0, 2.0, 5.0, 6.0]
    cells = [cell.strip(" *") for cell in speech.split("|")[3:8]]
    assert [float(cell) for cell in cells] == pytest.approx([*expected, np.mean(expected)])
    assert "| speech | +2.00 | +3.00 | +4.00 | 2.00 |" in lines


def test_a_run_is_run_again_if_its_keys_have_changed_and_not_otherwise(results, tmp_path):
    runner = results["Runner"](tmp_path / "audio", tmp_path / "runs")
    run = []

    def measure(asked, workdir):
        run.append(asked.keys)
        workdir.mkdir(parents=True)
        (workdir / "results.json").write_text(f'{{"rows": [{{"name": "pca", "run": {len(run)}}}]}}')
        splits = '{"splits": {"test": {"folders": ["a", "b"]}}}'
        (workdir / "corpus.json").write_text(splits)
        return {"cpu_minutes": 1.0, "memory_mb": 2, "step_ms": 3.0, "parameters": 4}

    runner._measure = measure
    for keys, expected in ((("seed=1",), 1), (("seed=1",), 1), (("seed=2",), 2), (("seed=2",), 2)):
        found = runner(results["Run"]("name", "mel_conv", keys))
        assert found.rows["pca"]["run"] == expected
        assert found.tested == ("a", "b")
    assert run == [("seed=1",), ("seed=2",)]
    assert len(set(runner.commands)) == 2


def test_a_section_is_written_between_its_marks_and_again_in_its_place(results, tmp_path):
    results["write"]("lead", "first", ["python a", "python a"])
    results["write"]("bits", "other", ["python -m other"])
    results["write"]("lead", "second", ["python c"])
    page = (tmp_path / "results.md").read_text()
    assert "first" not in page
    assert page.index("second") < page.index("python c") < page.index("other")
    assert page.count("<!-- lead -->") == page.count("<!-- end of lead -->") == 1
    assert page.count("python -m other") == 1
