"""Runs a sweep: launches its members, and writes one table and one report of all results."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aejax import config as config_module
from aejax import launchers, parts
from aejax.experiment import begin
from aejax.prepare import Experiment, open_experiment
from aejax.reporting import page, run_files
from aejax.reporting.table import results_table
from aejax.runtime import compilation, files, malloc
from aejax.runtime.errors import UserError, printable
from aejax.sweeps.plan import Member, describe, group_members, split_for_jobs
from aejax.sweeps.population import Job, run_together
from aejax.training import plan as training_plan
from aejax.workdir import Workdir

_MAX_ERROR_BYTES = 1 << 20


def run(
    members: Sequence[Member],
    root: Path,
    *,
    mode: str,
    launcher: str,
    options: Mapping[str, str],
    jobs: int,
    command: str,
) -> None:
    """Runs the unfinished members of a sweep, and writes its table and report.

    Args:
      members: all members of the sweep.
      root: folder of the sweep.
      mode: one of `aejax.sweeps.plan.MODES`.
      launcher, options, jobs: see `aejax.launchers.launch`.
      command: command line that repeats the sweep.

    Raises:
      UserError: the sweep cannot start; or some members failed twice.
    """
    launchers.check(kind=launcher, jobs=jobs, options=options)
    group_members(members, mode)  # checks the mode for all members, also for finished ones
    _start(members, root, command)
    unfinished = _unfinished(root, members)
    errors: dict[str, str] = {}
    if unfinished:
        groups = group_members(unfinished, "sequential" if mode == "sequential" else "auto")
        units = split_for_jobs(groups, jobs)
        print(describe(groups, units, mode, jobs), flush=True)
        if len(unfinished) < len(members):
            print(f"  finished before: {len(members) - len(unfinished)}")
        errors = _launch(units, root, launcher, options, jobs)
        if failed := _unfinished(root, unfinished):
            print(f"retrying one by one: {', '.join(member.folder for member in failed)}")
            errors |= _launch([[member] for member in failed], root, launcher, options, jobs)
    else:
        print("all experiments of this sweep are finished; their results again:")
    _report(members, root, errors)


def dry_run(members: Sequence[Member], root: Path, *, mode: str, jobs: int) -> None:
    """Prints the plan of a sweep: its groups, and that of the largest member of each; writes
    nothing. See `run` for the arguments.

    Raises:
      UserError: the sweep cannot start.
    """
    groups = group_members(members, mode)
    print(describe(groups, split_for_jobs(groups, jobs), mode, jobs), flush=True)
    last: Experiment | None = None
    for group in groups:
        directories = [begin(member.config, root / member.folder) for member in group]
        widest = max(directories, key=lambda one: one.config.model.latent_dim)
        if last is not None and any(
            widest.config[name] != last.config[name] for name in ("data", "augment", "task")
        ):
            last = None
        last = open_experiment(widest.config, widest, last)
        print(f"\n{printable(widest.path.name)}: ", end="")
        for line in training_plan.describe(last, len(group)):
            print(line, flush=True)


def train_members(root: str, unit: Sequence[Member], own_parts: Sequence[str] = ()) -> None:
    """Trains members together in this process; writes the error of each to ``errors/``.

    Args:
      root: folder of the sweep.
      unit: members of one group.
      own_parts: modules of the user's own parts.

    Raises:
      UserError: some members failed; the message has their names.
    """
    malloc.keep_freed()
    compilation.use_cache()
    for own in own_parts:
        parts.load(own)
    for member in unit:  # errors of an earlier attempt
        _error_file(root, member).unlink(missing_ok=True)
    jobs = [Job(member.config, Path(root, member.folder), member.command) for member in unit]
    failed = []
    for member, results in zip(unit, run_together(jobs), strict=True):
        if isinstance(results, UserError):
            failed.append(member.folder)
            path = _error_file(root, member)
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(path, printable(str(results)) + "\n")
    if failed:
        raise UserError(f"failed: {', '.join(failed)}")


def _start(members: Sequence[Member], root: Path, command: str) -> None:
    """Writes ``sweep.json``; an existing sweep may only get more members.

    Raises:
      UserError: the folder holds other files, another sweep, or a run of another config.
    """
    path = root / "sweep.json"
    earlier: list[str] = []
    if os.path.lexists(path):
        earlier = [member.name for member in run_files.members(root)]
    elif root.exists() and not (root.is_dir() and files.is_empty(root)):
        raise UserError(f"--workdir={root} is not empty and not a sweep; give another")
    folders = {member.folder for member in members}
    gone = [folder for folder in earlier if folder not in folders]
    if gone:
        raise UserError(
            f"{root} holds a sweep with {gone[0]}, which this one does not have; give another"
            " --workdir"
        )
    for member in members:
        Workdir(root / member.folder, member.config)
    entries = [{"folder": member.folder, "overrides": dict(member.overrides)} for member in members]
    try:
        root.mkdir(parents=True, exist_ok=True)
        content = {"members": entries, "command": command}
        files.write_text(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write to --workdir={root} ({error.strerror})") from None


def _error_file(root: str | Path, member: Member) -> Path:
    return Path(root, "errors", f"{member.folder}.txt")


def _is_finished(root: Path, member: Member) -> bool:
    return (root / member.folder / "results.json").exists()


def _unfinished(root: Path, members: Sequence[Member]) -> list[Member]:
    return [member for member in members if not _is_finished(root, member)]


def _launch(
    units: Sequence[list[Member]],
    root: Path,
    launcher: str,
    options: Mapping[str, str],
    jobs: int,
) -> dict[str, str]:
    """Launches units; returns the errors of the members that did not finish, by folder."""
    own_parts = tuple(sorted(set(parts.outside().values())))
    tasks = [
        launchers.Task(
            function=train_members,
            arguments=(str(root), tuple(unit), own_parts),
            log=root / "logs" / f"{unit[0].folder}.txt",
        )
        for unit in units
    ]
    errors = {}
    ended = launchers.launch(tasks, kind=launcher, jobs=jobs, options=options)
    with contextlib.closing(ended):
        for task, task_error in ended:
            for member in _unfinished(root, task.arguments[1]):
                path = _error_file(root, member)
                error = _read(path) if path.exists() else str(task_error or "")
                errors[member.folder] = error or "it ended without results"
                print(f"failed: {member.folder}: {errors[member.folder]}", flush=True)
    return errors


def _read(path: Path) -> str:
    with files.open_regular(path, _MAX_ERROR_BYTES) as file:
        return file.read().decode("utf-8", "replace").strip()


def _report(members: Sequence[Member], root: Path, errors: Mapping[str, str]) -> None:
    """Prints the table, and writes the report.

    Raises:
      UserError: some members are not finished.
    """
    finished = [member for member in members if _is_finished(root, member)]
    failed = [member.folder for member in members if member not in finished]
    if finished:
        print(f"\n{table(root, finished)}\n")
        report = root / run_files.REPORT
        defaults = config_module.flatten(config_module.default())
        paths = [root / member.folder for member in finished]
        page.write(report, paths, defaults=defaults, unfinished=failed)
        print(f"report:  {printable(str(report))}")
    if failed:
        first = f"{failed[0]}: {errors.get(failed[0], 'no results')}"
        raise UserError(
            f"{len(failed)} of {len(members)} experiments failed twice, the first of them {first};"
            " repeat the command to retry"
        )


def table(root: Path, members: Sequence[Member]) -> str:
    """The results of PCA and of all members, with a table for each kind of features.

    Errors of different features are not comparable."""
    by_features: dict[str, tuple[str, list[dict[str, Any]], list[int]]] = {}
    for member in members:
        results = run_files.read_results(root / member.folder)
        features = config_module.flatten(member.config.representation)
        features["sample_rate"] = member.config.data.sample_rate
        unit = results["units"]["feature_rmse"]
        _, rows, clips = by_features.setdefault(json.dumps(features), (unit, [], []))
        rows += _new_rows(rows, results["rows"], member)
        clips += [results["test_clips"]] if results.get("test_clips") else []
    return "\n\n".join(
        (f"{json.loads(features)['name']}:\n" if len(by_features) > 1 else "")
        + results_table(rows, unit, min(clips, default=None))
        for features, (unit, rows, clips) in by_features.items()
    )


def _new_rows(
    known: Sequence[Mapping[str, Any]], rows: Sequence[dict[str, Any]], member: Member
) -> list[dict[str, Any]]:
    """The rows of a member that are not in the table, its model named by the member's folder.

    Rows of PCA with the same size are equal for all members."""
    new = []
    for row in rows:
        name, comma, variant = row["name"].partition(",")
        if name == member.config.name:
            row = row | {"name": f"{member.folder}{comma}{variant}"}
        if row not in known:
            new.append(row)
    return new
