"""Runs of experiments for the tables of docs/results.md: what each gave, and what it took."""

import ast
import dataclasses
import json
import os
import pathlib
import re
import runpy
import shlex
import shutil
import statistics
import subprocess
import sys
from typing import Any

from looks import PUBLISHED_ON, Looks

from aejax import config as config_module

REPOSITORY = pathlib.Path(__file__).parents[1]
SEEDS = (0, 1, 2)


@dataclasses.dataclass(frozen=True)
class Run:
    """An experiment with other values for some keys."""

    name: str
    experiment: str
    keys: tuple[str, ...]

    def arguments(self, workdir: str | pathlib.Path) -> list[str]:
        start = ["-m", "aejax.main", f"--config=experiments/{self.experiment}.py"]
        return start + [f"--workdir={workdir}"] + [f"--config.{key}" for key in self.keys]

    def config(self) -> dict[str, Any]:
        """Its whole config, dotted keys to values."""
        path = REPOSITORY / "experiments" / f"{self.experiment}.py"
        config = runpy.run_path(str(path))["get_config"]()
        pairs = [key.split("=", 1) for key in self.keys]
        return config_module.flatten(
            config_module.override(config, {key: _value(text) for key, text in pairs})
        )

    def variant(self, name: str, *keys: str) -> "Run":
        return dataclasses.replace(self, name=f"{self.name}_{name}", keys=(*self.keys, *keys))


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@dataclasses.dataclass(frozen=True)
class Once:
    """What one training gave and took; ``tested``: folders of the test; ``memory_mb``: of the step;
    ``validation``: errors of the model and of PCA, at the step where the former is least."""

    rows: dict[str, dict[str, Any]]
    tested: tuple[str, ...]
    validation: tuple[float, float]
    cpu_minutes: float
    memory_mb: float
    step_ms: float
    parameters: int


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a run gave with each of the training seeds."""

    seeds: tuple[Once, ...]

    def mean(self, row: str, key: str) -> float:
        return statistics.mean(once.rows[row][key] for once in self.seeds)

    def said(self, row: str, key: str, form: str = ".2f") -> str:
        """The mean over seeds, and half of the distance from the lowest to the highest."""
        values = [once.rows[row][key] for once in self.seeds]
        if any(value is None for value in values):
            return ""
        spread = format((max(values) - min(values)) / 2, form.lstrip("+,"))
        return f"{statistics.mean(values):{form}} ± {spread}"

    def cost(self, name: str) -> float:
        return statistics.mean(getattr(once, name) for once in self.seeds)


class Runner:
    """Runs what was not run yet, and remembers the commands."""

    def __init__(self, audio: pathlib.Path, runs: pathlib.Path) -> None:
        self.audio, self.runs = audio, runs
        self.commands: list[str] = []
        self.looks = Looks(runs, config_module.flatten(config_module.default()))

    def __call__(self, run: Run) -> Measured:
        """Results on test clips of the split that is published, if it may be looked at."""
        published = dataclasses.replace(run, keys=(*run.keys, f"data.split_seed={PUBLISHED_ON}"))
        config = published.config()
        self.looks.check(run.name, config)
        variants = [published.variant(f"seed{seed}", f"seed={seed}") for seed in SEEDS]
        for variant in variants:
            self.commands.append(shlex.join(["python", *variant.arguments(f"runs/{variant.name}")]))
            self.finish(variant)
        self.looks.log(run.name, config)
        return Measured(tuple(self.read(variant) for variant in variants))

    def finish(self, run: Run) -> None:
        """Runs it, unless it was run with the same keys."""
        workdir, record = self.runs / run.name, self.runs / f"{run.name}.json"
        asked = [run.experiment, dict(key.split("=", 1) for key in run.keys)]
        known = json.loads(record.read_text()) if record.exists() else {}
        if known.get("asked") != asked:
            shutil.rmtree(workdir, ignore_errors=True)
            print(run.name, flush=True)
            known = {"asked": asked, "cost": self._measure(run, workdir)}
            record.write_text(json.dumps(known))

    def read(self, run: Run) -> Once:
        """What a finished run gave."""
        workdir = self.runs / run.name
        cost = json.loads((self.runs / f"{run.name}.json").read_text())["cost"]
        results = json.loads((workdir / "results.json").read_text())
        rows = {row["name"]: row for row in results["rows"]}
        splits = json.loads((workdir / "corpus.json").read_text())["splits"]
        tested = tuple(splits["test"].get("folders", ()))
        return Once(rows, tested, self.validation(run), **cost)

    def validation(self, run: Run) -> tuple[float, float]:
        """See `Once`; nothing of the test is read."""
        keys = ("validation/feature_rmse", "validation/pca_feature_rmse")
        lines = [json.loads(line) for line in (self.runs / run.name / "metrics.jsonl").open()]
        pairs = [tuple(line[key] for key in keys) for line in lines if keys[0] in line]
        return min(pairs)

    def _measure(self, run: Run, workdir: pathlib.Path) -> dict[str, float]:
        self.runs.mkdir(parents=True, exist_ok=True)
        arguments = [x.replace("AUDIO/", f"{self.audio}/") for x in run.arguments(workdir)]
        with (self.runs / f"{run.name}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(process.pid, 0)
        output = (self.runs / f"{run.name}.log").read_text()
        if status:
            raise SystemExit(f"{run.name} failed:\n{output[-2000:]}")
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
        rates = [x["time/steps_per_second"] for x in lines if "time/steps_per_second" in x]
        found = re.search(r"([\d,]+) parameters, ([\d,]+) MB", output)
        assert found, f"{run.name} does not say what its step takes"
        return {
            "cpu_minutes": (usage.ru_utime + usage.ru_stime) / 60,
            "memory_mb": int(found[2].replace(",", "")),
            "step_ms": 1e3 / statistics.median(rates),
            "parameters": int(found[1].replace(",", "")),
        }
