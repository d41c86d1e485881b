"""The trials of a search, in an Optuna journal that all workers share.

Workers are processes on one or several machines that use the same folder. A worker locks
``search.lock`` to read and write the journal, and ``trial_0003.lock`` while it runs that trial. A
trial whose state is "running" but that is not locked has lost its worker; the next worker takes it
over. (Optuna 5 detects dead workers by heartbeats only with `optuna.storages.RDBStorage`, not with
journals.) The locks are those of flock, which end with the process; on NFS they need Linux 2.6.12,
a server with locks, and a mount without ``nolock`` and ``local_lock=flock``.
"""

import contextlib
import dataclasses
import fcntl
import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from aejax.runtime import files
from aejax.runtime.errors import UserError, printable
from aejax.sweeps.search.space import Space

JOURNAL = "search.journal"
_MAX_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class Claim:
    """A trial assigned to this worker until ``lock`` is closed."""

    number: int
    overrides: dict[str, Any]
    lock: io.IOBase


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    Attributes:
      error: on the validation split; None if it was refused or failed.
      rate: latent rate; None if it was refused or failed.
      refused: True if its config is invalid.
      reason: message if it was refused or failed.
    """

    error: float | None = None
    rate: float | None = None
    refused: bool = False
    reason: str = ""


class Journal:
    """The trials of a search.

    Args:
      root: the folder of the search.
      space: config keys with their possible values.
      settings: all other settings of the search, as JSON values by the names used in messages.
      objectives: number of objectives.
      seed: of the first trial; each later trial adds 1.

    Raises:
      UserError: the folder has another search, or a journal that cannot be read.
    """

    def __init__(
        self, root: Path, space: Space, settings: Mapping[str, Any], *, objectives: int, seed: int
    ):
        self._root, self._space, self._seed = root, space, seed
        if (root / "config.json").exists():
            raise UserError(f"{root} holds a run, not a search; give another --workdir")
        root.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        settings = json.loads(json.dumps(dict(settings)))
        with self._locked():
            path = str(root / JOURNAL)
            if os.path.lexists(path):
                _drop_incomplete_line(root / JOURNAL)
            lock = JournalFileOpenLock(path)
            self._storage = optuna.storages.JournalStorage(JournalFileBackend(path, lock_obj=lock))
            self._study = optuna.create_study(
                storage=self._storage,
                study_name="search",
                directions=["minimize"] * objectives,
                load_if_exists=True,
            )
            saved = self._study.user_attrs.get("settings")
            if saved is None:
                self._study.set_user_attr("settings", settings)
            elif saved != settings:
                raise UserError(_other_search(root, saved, settings))

    def claim(self, count: int) -> Claim | None:
        """The next trial to run: one without a worker, or a new one; None after ``count``."""
        with self._locked():
            trials = self._study.get_trials(deepcopy=False)
            for trial in trials:
                if trial.state == TrialState.RUNNING:
                    lock = _try_lock(self.folder(trial.number).with_suffix(".lock"))
                    if lock is not None:
                        # Suggests the values chosen before, and new values for other keys.
                        unfinished = optuna.Trial(self._study, trial._trial_id)
                        return Claim(trial.number, self._choose(unfinished), lock)
            if len(trials) >= count:
                return None
            new = self._study.ask()
            lock = _try_lock(self.folder(new.number).with_suffix(".lock"))
            if lock is None:
                raise UserError(f"{self.folder(new.number)} is held by another search")
            return Claim(new.number, self._choose(new), lock)

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Writes the outcome of a trial to the journal."""
        with self._locked():
            trial_id = self._study.get_trials(deepcopy=False)[claim.number]._trial_id
            for name, value in (("rate", outcome.rate), ("reason", outcome.reason)):
                self._storage.set_trial_user_attr(trial_id, name, value)
            if outcome.error is None or outcome.rate is None:
                state = TrialState.PRUNED if outcome.refused else TrialState.FAIL
                self._study.tell(claim.number, state=state)
            else:
                objectives = len(self._study.directions)
                self._study.tell(claim.number, [outcome.error, outcome.rate][:objectives])

    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        with self._locked():
            return self._study.get_trials(deepcopy=False)

    def best(self) -> list[FrozenTrial]:
        """The Pareto-optimal trials by rate; for one objective, all finished trials by error."""
        with self._locked():
            if len(self._study.directions) > 1:
                front = self._study.best_trials
                return sorted(front, key=lambda trial: (trial.values[1], trial.values[0]))
            finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            return sorted(finished, key=lambda trial: trial.values[0])

    def overrides(self, trial: FrozenTrial) -> dict[str, Any]:
        """The overrides of a trial."""
        params = trial.params
        return {
            key: values.read(params[key]) for key, values in self._space.items() if key in params
        }

    def folder(self, number: int) -> Path:
        """The folder of a trial's run."""
        return self._root / f"trial_{number:04}"

    def _choose(self, trial: optuna.Trial) -> dict[str, Any]:
        # A new sampler for each trial: the choice depends only on earlier trials and the seed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of Optuna 4
            self._study.sampler = optuna.samplers.TPESampler(
                seed=self._seed + trial.number,
                constant_liar=True,  # avoids the values of running trials
            )
        return {key: values.suggest(trial, key) for key, values in self._space.items()}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Locks the journal; raises `UserError` if it cannot be read."""
        with files.open_lock(self._root / "search.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            except (OSError, UserError):
                raise
            except Exception as error:  # Optuna raises many kinds for damaged lines
                message = printable(f"{type(error).__name__}: {' '.join(str(error).split())}")[:200]
                raise UserError(
                    f"{self._root / JOURNAL} cannot be read ({message}); move it away to"
                    " start a new search"
                ) from None


def _other_search(root: Path, saved: Any, settings: Mapping[str, Any]) -> str:
    if not isinstance(saved, dict):
        saved = {}
    differing = [
        f"{key}: {saved.get(key)!r} there, {settings.get(key)!r} now"
        for key in sorted(saved.keys() | settings.keys())
        if saved.get(key) != settings.get(key)
    ]
    return printable(
        f"{root} holds another search ({'; '.join(differing)}); give another --workdir, or"
        " repeat the command of that search to continue it"
    )


def _try_lock(path: Path) -> io.IOBase | None:
    lock = files.open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _drop_incomplete_line(path: Path) -> None:
    """Cuts off the incomplete last line of a worker that was killed; Optuna would append to it."""
    with files.open_regular(path, _MAX_BYTES) as file:
        text = file.read()
    if text.endswith(b"\n"):
        return
    with path.open("rb+") as file:
        file.truncate(text.rfind(b"\n") + 1)
        file.flush()
        os.fsync(file.fileno())
