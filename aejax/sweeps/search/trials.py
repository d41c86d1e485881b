"""The search itself: trial after trial until there are enough, and what came of them."""

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
from aejax.runtime import files
from aejax.runtime.errors import DiskFull, Interrupted, UserError, one_line, printable
from aejax.runtime.progress import warn
from aejax.sweeps.search.journal import Journal, Outcome
from aejax.sweeps.search.space import BIT_RATE, Space, other_features, rate_of
from aejax.training import metrics_log

ATTEMPTS = 2  # at a trial that fails
SHOWN = 10  # trials of a search with one objective
HOPELESS = 10  # trials that are all refused, and nothing else
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
    where = printable(str(root))
    print(f"search: {count} trials in {where}; to join from elsewhere, the same command: {command}")
    if others := other_features(space):
        warn(f"trials that differ in {', '.join(others)} have errors of different features")
    while (claim := journal.claim(count)) is not None:
        folder = journal.folder(claim.number)
        print(f"\n{folder.name} ({claim.number + 1} of {count}): {_written(claim.overrides)}")
        with claim.lock:
            outcome = _work(config, claim.overrides, folder, train, rate)
            journal.finish(claim, outcome)
        if outcome.reason:
            what = "is refused" if outcome.refused else "failed"
            warn(f"{folder.name} {what}: {outcome.reason}")
        _write(journal, root, rate, varies)
        _refuse_to_go_on(journal.trials())
    _write(journal, root, rate, varies)
    _print(journal, root, rate, varies)


def _work(
    config: ConfigDict,
    overrides: Mapping[str, Any],
    folder: Path,
    train: Callable[[ConfigDict, Path], None],
    rate: str,
) -> Outcome:
    reason = ""
    for _ in range(ATTEMPTS):
        if reason:
            warn(f"{folder.name} failed ({reason}) and is tried again")
        try:
            changed = config_module.override(config, overrides)
            config_module.validate(changed)
            train(changed, folder)
            error, found = _score(folder, changed.name, rate)
            return Outcome(error=error, rate=found)
        except (Interrupted, DiskFull):
            raise
        except UserError as refusal:
            return Outcome(refused=True, reason=one_line(refusal))
        except Exception as failure:
            traceback.print_exc()
            reason = one_line(failure)
    return Outcome(reason=reason)


def _score(folder: Path, name: str, rate: str) -> tuple[float, float]:
    """The error on the validation split at the step that was chosen, and the latent rate."""
    results = run_files.read_results(folder)
    step = results["best"]["raw"]["step"]
    lines = metrics_log.read(folder / "metrics.jsonl")
    [*_, error] = [line[ERROR] for line in lines if line["step"] == step and ERROR in line]
    [found] = [row[rate] for row in results["rows"] if row["name"] == name]
    if error is None:  # as the log has what is not finite
        raise ValueError(f"the error of step {step} is not finite")
    return error, found


def _refuse_to_go_on(trials: Sequence[FrozenTrial]) -> None:
    over = [trial for trial in trials if trial.state.is_finished()]
    if len(over) >= HOPELESS and all(trial.state.name == "PRUNED" for trial in over):
        raise UserError(
            f"all {len(over)} trials were refused, the last since {over[-1].user_attrs['reason']}"
        )


def _write(journal: Journal, root: Path, rate: str, varies: bool) -> None:
    """``search.json``: all trials, and which of them are the best."""
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
    found = {
        "error": ERROR,
        "rate": rate,
        "best": best if varies else best[:1],
        "trials": trials,
    }
    files.write_text(root / "search.json", json.dumps(found, indent=2, allow_nan=False) + "\n")


def _print(journal: Journal, root: Path, rate: str, varies: bool) -> None:
    best, trials = journal.best(), journal.trials()
    cells = [["overrides", "trial", "error", "bit/s" if rate == BIT_RATE else "floats/s"]]
    for trial in best if varies else best[:SHOWN]:
        cells.append(
            [
                _written(journal.overrides(trial)),
                journal.folder(trial.number).name,
                f"{trial.values[0]:.4g}",
                f"{trial.user_attrs['rate']:.6g}",
            ]
        )
    states = collections.Counter(STATES[trial.state.name] for trial in trials)
    counted = ", ".join(f"{number} {state}" for state, number in states.items())
    what = "none has both a lower error and a lower latent rate" if varies else "best first"
    print(f"\n{len(trials)} trials: {counted}; {what}; error: {ERROR}\n\n{aligned(cells)}\n")
    print(f"trials: {printable(str(root / 'search.json'))}")


def _written(overrides: Mapping[str, Any]) -> str:
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in overrides.items()
    )
