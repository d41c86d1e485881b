"""Search over config keys: each trial is a run with overrides that Optuna chooses."""

import importlib
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from aejax.runtime.errors import UserError
from aejax.sweeps.search.space import Choice, Range, Space, parse_space

__all__ = ["Choice", "Range", "Space", "parse_space", "run"]


def run(
    config: ConfigDict,
    count: int,
    space: Space,
    root: Path,
    train: Callable[[ConfigDict, Path], None],
    *,
    command: str,
) -> None:
    """Runs trials until the search has ``count`` of them, and prints and writes the best.

    A trial is a run in ``root/trial_0000`` and so on. Optuna's TPE chooses its overrides from the
    results of earlier trials. It minimises the validation error at the best step and, if it differs
    between trials, the latent rate. Other processes and machines that run the same search in the
    same folder share its trials (see `journal`). A trial with an invalid config is refused; a trial
    that fails is tried once more; a trial that was killed or interrupted continues the next time.

    Args:
      config: of the trials, without their overrides.
      count: number of trials, including those of other workers and earlier calls.
      space: config keys with their possible values.
      root: folder of the search.
      train: trains a config in a folder, or continues there; `Interrupted` ends the search.
      command: command line that repeats the search, for messages.

    Raises:
      UserError: Optuna is not installed, ``root`` has another search, or all trials are refused.
    """
    try:
        importlib.import_module("optuna")
    except ImportError:
        raise UserError("a search needs Optuna: pip install -e '.[search]'") from None
    from aejax.sweeps.search import trials

    if count < 1:
        raise UserError(f"--search={count} must be at least 1")
    trials.search(config, count, space, root, train, command)
