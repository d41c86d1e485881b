"""Adaptive search over config keys: each trial is a run, whose overrides Optuna chooses."""

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
    """Works on a search until it has so many trials, and prints and writes the best.

    A trial is a run in ``root/trial_0000`` and so on. Optuna's TPE chooses its overrides by what
    the trials before have come to: the error on the validation split at the step that was chosen,
    and, where the space lets it differ, the latent rate; both the lower the better. Other processes
    and machines that are given the same search in the same folder join in (see
    `journal`). A trial whose config is refused is over, with the reason; one that
    fails otherwise is tried once more. One that was killed or interrupted goes on the next time.

    Args:
      config: of the trials, before their overrides.
      count: trials in all, those of other workers and of earlier times among them.
      space: what is searched.
      root: folder of the search.
      train: trains a config in a folder, or goes on with it; it raises `Interrupted`
        where the search is to end and go on another time.
      command: that the user has given, for messages.

    Raises:
      UserError: Optuna is not installed, ``root`` has another search, no trial is ever accepted.
    """
    try:
        importlib.import_module("optuna")
    except ImportError:
        raise UserError(
            "a search takes Optuna, which is not installed: pip install -e '.[search]'"
        ) from None
    from aejax.sweeps.search import trials

    if count < 1:
        raise UserError(f"--search={count} must be at least 1")
    trials.search(config, count, space, root, train, command)
