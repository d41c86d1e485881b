"""Runs the trials of a search, and writes and prints their results."""

import collections
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from optuna.trial import FrozenTrial

from aejax import config as config_module
from aejax.reporting import run_files
from aejax.reporting.table import aligned
from aejax.runtime import files, words
from aejax.runtime.errors import DiskFull, Interrupted, UserError, one_line, printable
from aejax.runtime.progress import warn
from aejax.sweeps.search.journal import Journal, Outcome
from aejax.sweeps.search.space import BIT_RATE, Space, other_features, rate_of
from aejax.training import metrics_log

ATTEMPTS = 2  # of a trial that fails
MAX_ROWS = 10  # in the table of a search with one objective
MAX_REFUSED = 10  # a search ends after so many trials if all are refused
STATES = {"COMPLETE": "finished", "PRUNED": "refused", "FAIL": "failed", "RUNNING": "running"}
ERROR = "validation/feature_rmse"


def search(
    config: ConfigDict,
    count: int,
    space: Space,
    root: Path,
    train: Callable[[ConfigDict, Path], None],
    command: str,
) -> None:
    """See `aejax.sweeps.search.run`."""
    rate, varies = rate_of(config, space)
    settings = {f"--search_space {key}": str(values) for key, values in space.items()}
    for key, value in config_module.flatten(config).items():
        settings[f"--config.{key}"] = value
    journal = Journal(root, space, settings, objectives=1 + varies, seed=config.seed)
    print(
        f"search: {words.count(count, 'trial')} in {printable(str(root))};"
        f" to join from another machine, run the same command: {command}"
    )
    if others := other_features(space):
        warn(f"trials that differ in {', '.join(others)} have errors of different features")
    while (claim := journal.claim(count)) is not None:
        folder = journal.folder(claim.number)
        print(f"\n{folder.name} ({claim.number + 1} of {count}): {_as_text(claim.overrides)}")
        with claim.lock:
            outcome = _run_trial(config, claim.overrides, folder, train, rate)
            journal.finish(claim, outcome)
        if outcome.reason:
            verb = "is refused" if outcome.refused else "failed"
            warn(f"{folder.name} {verb}: {outcome.reason}")
        _write(journal, root, rate, varies)
        _check_any_accepted(journal.trials())
    _write(journal, root, rate, varies)
    _print(journal, root, rate, varies)


def _run_trial(
    config: ConfigDict,
    overrides: Mapping[str, Any],
    folder: Path,
    train: Callable[[ConfigDict, Path], None],
    rate: str,
) -> Outcome:
    reason = ""
    for _ in range(ATTEMPTS):
        if reason:
            warn(f"{folder.name} failed ({reason}); retrying")
        try:
            changed = config_module.override(config, overrides)
            config_module.validate(changed)
            train(changed, folder)
            error, latent_rate = _score(folder, changed.name, rate)
            return Outcome(error=error, rate=latent_rate)
        except (Interrupted, DiskFull):
            raise
        except UserError as refusal:
            return Outcome(refused=True, reason=one_line(refusal))
        except Exception as failure:
            traceback.print_exc()
            reason = one_line(failure)
    return Outcome(reason=reason)


def _score(folder: Path, name: str, rate: str) -> tuple[float, float]:
    """The validation error at the best step, and the latent rate, of a finished run."""
    results = run_files.read_results(folder)
    step = results["best"]["raw"]["step"]
    lines = metrics_log.read(folder / "metrics.jsonl")
    [*_, error] = [line[ERROR] for line in lines if line["step"] == step and ERROR in line]
    [latent_rate] = [row[rate] for row in results["rows"] if row["name"] == name]
    if error is None:  # the log has None for non-finite numbers
        raise ValueError(f"the error of step {step} is not finite")
    return error, latent_rate


def _check_any_accepted(trials: Sequence[FrozenTrial]) -> None:
    ended = [trial for trial in trials if trial.state.is_finished()]
    if len(ended) >= MAX_REFUSED and all(trial.state.name == "PRUNED" for trial in ended):
        raise UserError(
            f"all {len(ended)} trials were refused, the last since {ended[-1].user_attrs['reason']}"
        )


def _write(journal: Journal, root: Path, rate: str, varies: bool) -> None:
    """Writes all trials, and the numbers of the best, to ``search.json``."""
    trials = [
        {
            "trial": trial.number,
            "folder": journal.folder(trial.number).name,
            "state": STATES[trial.state.name],
            "overrides": journal.overrides(trial),
            "error": trial.values[0] if trial.values else None,
            "rate": trial.user_attrs.get("rate"),
            "reason": trial.user_attrs.get("reason", ""),
        }
        for trial in journal.trials()
    ]
    best = [trial.number for trial in journal.best()]
    content = {
        "error": ERROR,
        "rate": rate,
        "best": best if varies else best[:1],
        "trials": trials,
    }
    files.write_text(root / "search.json", json.dumps(content, indent=2, allow_nan=False) + "\n")


def _print(journal: Journal, root: Path, rate: str, varies: bool) -> None:
    best, trials = journal.best(), journal.trials()
    cells = [["overrides", "trial", "error", "bit/s" if rate == BIT_RATE else "floats/s"]]
    for trial in best if varies else best[:MAX_ROWS]:
        cells.append(
            [
                _as_text(journal.overrides(trial)),
                journal.folder(trial.number).name,
                f"{trial.values[0]:.4g}",
                f"{trial.user_attrs['rate']:.6g}",
            ]
        )
    states = collections.Counter(STATES[trial.state.name] for trial in trials)
    counted = ", ".join(f"{number} {state}" for state, number in states.items())
    order = "none has both a lower error and a lower latent rate" if varies else "best first"
    total = words.count(len(trials), "trial")
    print(f"\n{total}: {counted}; {order}; error: {ERROR}\n\n{aligned(cells)}\n")
    print(f"trials: {printable(str(root / 'search.json'))}")


def _as_text(overrides: Mapping[str, Any]) -> str:
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in overrides.items()
    )
