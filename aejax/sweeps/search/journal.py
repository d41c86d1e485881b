"""What all workers of a search know: its trials, in a file that they share.

Several processes and machines work on one search by sharing its folder. Who holds the lock on
``search.lock`` may read and write the journal; who holds that on ``trial_0003.lock`` works on that
trial, and a trial that nobody holds, though it is running by the journal, has lost its worker and
is taken over. The locks are those of flock: they end with the process. On NFS they hold between
machines from Linux 2.6.12 on, where the server supports locks and it is not mounted with ``nolock``
or ``local_lock=flock``.
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
_MOST_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class Claim:
    """A trial that this worker alone works on, as long as it does not close ``lock``."""

    number: int
    overrides: dict[str, Any]
    lock: io.IOBase


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
      error: None where it was refused or failed.
      rate: of its latents.
      refused: whether its overrides make no config that works.
      reason: why there is no error.
    """

    error: float | None = None
    rate: float | None = None
    refused: bool = False
    reason: str = ""


class Journal:
    """The trials of a search.

    Args:
      root: the folder of the search.
      space: what is searched.
      settings: what the search is otherwise; by a line for the user, in JSON types.
      objectives: how many.
      seed: of the first trial; the next has the next.

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
        wanted = json.loads(json.dumps(dict(settings)))
        with self._alone():
            path = str(root / JOURNAL)
            if os.path.lexists(path):
                _drop_half_a_line(root / JOURNAL)
            lock = JournalFileOpenLock(path)
            self._storage = optuna.storages.JournalStorage(JournalFileBackend(path, lock_obj=lock))
            self._study = optuna.create_study(
                storage=self._storage,
                study_name="search",
                directions=["minimize"] * objectives,
                load_if_exists=True,
            )
            kept = self._study.user_attrs.get("settings")
            if kept is None:
                self._study.set_user_attr("settings", wanted)
            elif kept != wanted:
                raise UserError(_other_search(root, kept, wanted))

    def claim(self, count: int) -> Claim | None:
        """A trial to work on: one that has lost its worker, or a new one while there are fewer than
        ``count`` in all."""
        with self._alone():
            trials = self._study.get_trials(deepcopy=False)
            for trial in trials:
                if trial.state == TrialState.RUNNING:
                    lock = _try_lock(self.folder(trial.number).with_suffix(".lock"))
                    if lock is not None:
                        # It gives what was chosen, and chooses what was not yet.
                        again = optuna.Trial(self._study, trial._trial_id)
                        return Claim(trial.number, self._choose(again), lock)
            if len(trials) >= count:
                return None
            asked = self._study.ask()
            lock = _try_lock(self.folder(asked.number).with_suffix(".lock"))
            if lock is None:
                raise UserError(f"{self.folder(asked.number)} is held by another search")
            return Claim(asked.number, self._choose(asked), lock)

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """Writes down how a trial ended."""
        with self._alone():
            kept = self._study.get_trials(deepcopy=False)[claim.number]._trial_id
            for name, value in (("rate", outcome.rate), ("reason", outcome.reason)):
                self._storage.set_trial_user_attr(kept, name, value)
            if outcome.error is None or outcome.rate is None:
                state = TrialState.PRUNED if outcome.refused else TrialState.FAIL
                self._study.tell(claim.number, state=state)
            else:
                objectives = len(self._study.directions)
                self._study.tell(claim.number, [outcome.error, outcome.rate][:objectives])

    def trials(self) -> list[FrozenTrial]:
        """All of them, by number."""
        with self._alone():
            return self._study.get_trials(deepcopy=False)

    def best(self) -> list[FrozenTrial]:
        """Those that no other is better than in every objective; with one, all, best first."""
        with self._alone():
            if len(self._study.directions) > 1:
                front = self._study.best_trials
                return sorted(front, key=lambda trial: (trial.values[1], trial.values[0]))
            finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            return sorted(finished, key=lambda trial: trial.values[0])

    def overrides(self, trial: FrozenTrial) -> dict[str, Any]:
        """Of a trial."""
        params = trial.params
        return {
            key: values.read(params[key]) for key, values in self._space.items() if key in params
        }

    def folder(self, number: int) -> Path:
        """Of a trial's run."""
        return self._root / f"trial_{number:04}"

    def _choose(self, trial: optuna.Trial) -> dict[str, Any]:
        # What a worker chooses depends on the trials before, and on nothing that it chose before.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of Optuna 4
            self._study.sampler = optuna.samplers.TPESampler(
                seed=self._seed + trial.number,
                constant_liar=True,  # away from what others are at
            )
        return {key: values.suggest(trial, key) for key, values in self._space.items()}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the search; an error of a journal that cannot be read is one line."""
        with files.open_lock(self._root / "search.lock") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            try:
                yield
            except (OSError, UserError):
                raise
            except Exception as error:  # whatever Optuna makes of lines that it has not written
                message = printable(f"{type(error).__name__}: {' '.join(str(error).split())}")[:200]
                raise UserError(
                    f"{self._root / JOURNAL} cannot be read ({message}); move it away and the"
                    " search begins anew"
                ) from None


def _other_search(root: Path, kept: Any, wanted: Mapping[str, Any]) -> str:
    if not isinstance(kept, dict):
        kept = {}
    differing = [
        f"{key}: {kept.get(key)!r} there, {wanted.get(key)!r} now"
        for key in sorted(kept.keys() | wanted.keys())
        if kept.get(key) != wanted.get(key)
    ]
    return printable(
        f"{root} has another search ({'; '.join(differing)}); give another --workdir, or the same"
        " command to go on with that search"
    )


def _try_lock(path: Path) -> io.IOBase | None:
    held = files.open_lock(path)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        return None
    return held


def _drop_half_a_line(path: Path) -> None:
    """A worker killed while it wrote leaves one, which would spoil what is written next."""
    with files.open_regular(path, _MOST_BYTES) as file:
        text = file.read()
    if text.endswith(b"\n"):
        return
    with path.open("rb+") as file:
        file.truncate(text.rfind(b"\n") + 1)
        file.flush()
        os.fsync(file.fileno())
