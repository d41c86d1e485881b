"""Scanning and packing in the tasks of a launcher, on machines that share a file system."""

import contextlib
import dataclasses
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax import launchers
from aejax.data import packing
from aejax.data import scan as scans
from aejax.data.corpus import Settings
from aejax.data.examination import Examination
from aejax.data.folder import FolderCorpus
from aejax.data.packing import Shard
from aejax.data.table import Strings
from aejax.runtime import files, words
from aejax.runtime.errors import UserError

_TASKS_PER_JOB = 4  # whoever ends early takes another


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where tasks run, and the folder that they share.

    Attributes:
      folder: of their logs and of what they hand over.
      kind, jobs, options: see `aejax.launchers.launch`.
    """

    folder: Path
    kind: str
    jobs: int
    options: Mapping[str, str]

    def examine(self, root: Path, names: Sequence[str]) -> Iterator[Examination | str]:
        """See `aejax.data.scan.examine_files`."""
        shares = [names[share.start : share.stop] for share in self._shares(len(names))]
        results = [self.folder / f"scan-{number:05d}.npz" for number in range(len(shares))]
        tasks = [
            self._task(result.stem, _examine, root, share, result, self._threads())
            for share, result in zip(shares, results, strict=True)
        ]
        for number in self._in_order(tasks):
            yield from _outcomes(results[number], shares[number])

    def write_shards(
        self, source: FolderCorpus, out: Path, settings: dict[str, Any], plan: Sequence[Shard]
    ) -> Iterator[int]:
        """See `aejax.data.packing.write_shards`."""
        scanned = self.folder / "scan.npz"
        scans.save(scanned, source.scanned)
        shares = self._shares(len(plan))
        context = (source.root, scanned, source.settings, out, settings, self._threads())
        tasks = [
            self._task(f"pack-{number:05d}", _write, *context, share)
            for number, share in enumerate(shares)
        ]
        for number in self._in_order(tasks):
            for shard in shares[number]:
                yield from plan[shard].rows

    def _shares(self, count: int) -> list[range]:
        """Consecutive numbers below ``count`` for each task."""
        most = min(count, _TASKS_PER_JOB * self.jobs)
        cuts = np.linspace(0, count, most + 1).astype(int).tolist()
        return [range(begin, end) for begin, end in zip(cuts[:-1], cuts[1:], strict=True)]

    def _threads(self) -> int | None:
        """Threads of a task, on Ray as many as the CPUs it has; None for all that it may use."""
        return max(1, int(float(self.options.get("num_cpus", 1)))) if self.kind == "ray" else None

    def _task(self, name: str, function: Any, *arguments: Any) -> launchers.Task:
        return launchers.Task(function, arguments, self.folder / f"{name}.txt")

    def _in_order(self, tasks: Sequence[launchers.Task]) -> Iterator[int]:
        """Runs tasks; yields the number of each, in order, once it and all before it have ended."""
        numbers, ended, following = {task.log: n for n, task in enumerate(tasks)}, set(), 0
        errors = {}
        for task, error in launchers.launch(
            tasks, kind=self.kind, jobs=self.jobs, options=self.options, quiet=True
        ):
            if error:
                errors[task.log] = error
            ended.add(numbers[task.log])
            while not errors and following in ended:
                yield following
                following += 1
        for log, error in errors.items():
            others = words.count(len(errors) - 1, "other task")
            more = f" (and {others})" if len(errors) > 1 else ""
            raise UserError(f"{error}{more}; see {log}; the same command goes on")


@contextlib.contextmanager
def tasks_in(
    folder: Path, *, kind: str, jobs: int, options: Mapping[str, str]
) -> Iterator[Cluster]:
    """A cluster, whose folder is created, locked, and at the end removed unless there was an error.

    Raises:
      UserError: another process has locked the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with files.lock_folder(folder):
        yield Cluster(folder, kind, jobs, options)
        shutil.rmtree(folder)


def _examine(root: Path, names: Sequence[str], result: Path, threads: int | None) -> None:
    """Examines files, and writes what they hold as a scan."""
    _check(root)
    facts, formats, problems = np.zeros(len(names), scans.FACTS), dict[str, int](), []
    for row, outcome in enumerate(scans.examine_files(root, names, threads)):
        problems.append(scans.record(outcome, facts, row, formats))
    scans.save(result, scans.Scan(Strings.of(names), facts, Strings.of(problems), tuple(formats)))


def _outcomes(path: Path, names: Sequence[str]) -> Iterator[Examination | str]:
    """What `_examine` has written."""
    scanned = scans.load(path)
    if scanned is None or list(scanned.names) != list(names):
        raise UserError(f"{path} is not of these files; repeat the command")
    fields = Examination._fields
    for problem, facts in zip(scanned.problems, scanned.facts, strict=True):
        values = {name: facts[name].item() for name in fields}
        yield problem or Examination(**values | {"format": scanned.formats[facts["format"]]})


def _write(
    root: Path,
    scanned: Path,
    corpus: Settings,
    out: Path,
    settings: dict[str, Any],
    threads: int | None,
    numbers: Sequence[int],
) -> None:
    """Writes the shards of a pack that have these numbers."""
    _check(root)
    known = scans.load(scanned)
    if known is None:
        raise _unshared(scanned)
    source = FolderCorpus(root, known, corpus)
    plan = packing.plan_shards(source, settings)
    mine = [plan[number] for number in numbers]
    for _ in packing.write_shards(source, out, settings, mine, threads):
        pass


def _check(root: Path) -> None:
    if not root.is_dir():
        raise _unshared(root)


def _unshared(path: Path) -> UserError:
    return UserError(f"{path} is not on {socket.gethostname()}; tasks need a shared file system")
