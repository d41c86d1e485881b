"""Many experiments: which of them go together, where they run, and what comes of all of them."""

import contextlib
import dataclasses
import itertools
import json
import os
import re
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from aejax import config as config_module
from aejax import parts
from aejax.reporting import page, run_files
from aejax.reporting.table import results_table
from aejax.runtime import compilation, files, malloc
from aejax.runtime.errors import UserError, printable
from aejax.sweeps import launchers
from aejax.sweeps.members import shared
from aejax.sweeps.population import Job, run_together
from aejax.sweeps.search.space import parse_choices
from aejax.workdir import Workdir

# What lies in a sweep's folder beside those of its members.
_OWN = ("errors", "logs", "sweep.json", "report.html")
_MOST_ERROR = 1 << 20  # bytes of a member's error
MODES = ("auto", "population", "sequential")
Overrides = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Member:
    """One experiment of a sweep.

    Attributes:
      overrides: of the sweep's config, by flat key.
      folder: below the sweep's.
      config: with the overrides.
      command: that repeats it by itself.
    """

    overrides: Overrides
    folder: str
    config: ConfigDict
    command: str


def grid(text: str, config: ConfigDict) -> list[dict[str, Any]]:
    """Every combination of ``"model.latent_dim=4,8 seed=0,1"``, the last key fastest.

    Raises:
      UserError: it cannot be read, or a key or a value is there twice.
    """
    known = config_module.flatten(config)
    axes: dict[str, tuple[Any, ...]] = {}
    for word in text.split():
        key, equals, values = word.partition("=")
        if not equals or not values:
            raise UserError(f"--sweep: {word!r} must be KEY=VALUE,VALUE,...")
        config_module.check_known(key, known)
        if key in axes:
            raise UserError(f"--sweep: {key} is there twice; give all its values at once")
        axes[key] = parse_choices("--sweep", word, values, known[key])
    combined = itertools.product(*axes.values())
    return [dict(zip(axes, values, strict=True)) for values in combined]


def of_file(path: str) -> list[dict[str, Any]]:
    """What an experiment file's ``sweep()`` gives.

    Raises:
      UserError: it has none, or not dicts of flat keys.
    """
    function = runpy.run_path(path.partition(":")[0]).get("sweep")
    if function is None:
        raise UserError(
            f"{path} has no sweep(); give a grid, such as --sweep='model.latent_dim=8,16,32'"
        )
    found = list(function())
    if not all(isinstance(one, dict) and all(isinstance(key, str) for key in one) for one in found):
        raise UserError(f"{path}: sweep() must give dicts of keys and values")
    return found


def members(
    config: ConfigDict, found: Iterable[Overrides], command: Callable[[ConfigDict, str], str]
) -> list[Member]:
    """The experiments of a sweep, each checked before anything runs.

    Args:
      config: of the sweep.
      found: overrides, those of a file's ``sweep()`` or of `grid`.
      command: that repeats one by itself, of its config and folder.

    Raises:
      UserError: one does not work, two are the same, or there are none.
    """
    every = [dict(overrides) for overrides in found]
    keys = list(dict.fromkeys(key for one in every for key in one))
    together: list[Member] = []
    for overrides in every:
        folder = _folder(overrides, keys)
        if folder.casefold() in _OWN:
            raise UserError(f"{folder} is where the sweep keeps something else; give another name")
        try:
            changed = config_module.override(config, overrides)
            config_module.validate(changed)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from None
        for other in together:
            if other.folder.casefold() == folder.casefold():
                raise UserError(f"two experiments of the sweep would both go to {folder}")
        together.append(Member(overrides, folder, changed, command(changed, folder)))
    if not together:
        raise UserError("the sweep has no experiments")
    return together


def _folder(overrides: Overrides, keys: Sequence[str]) -> str:
    """``latent_dim=8,seed=1``, ``conv.width=64``, or the name where there is one; keys that end
    alike are whole."""
    if "name" in overrides:
        return str(overrides["name"])
    ends = [key.partition(".")[2] or key for key in keys]
    short = {key: end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)}
    text = ",".join(f"{short[key]}={_value(value)}" for key, value in overrides.items())
    return re.sub(r"[^A-Za-z0-9_.,=+-]", "_", text)[:200] or "as_it_is"


def _value(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def groups(found: Sequence[Member], mode: str) -> list[list[Member]]:
    """Members that can be trained in one compiled program, in the order of the first of each.

    Args:
      found: of a sweep.
      mode: one of `MODES`; "sequential" leaves each by itself.

    Raises:
      UserError: with "population", where no two go together.
    """
    if mode == "sequential":
        return [[member] for member in found]
    together: list[tuple[dict[str, Any], list[Member]]] = []
    for member in found:
        key = shared(member.config)
        for known, group in together:
            if known == key:
                group.append(member)
                break
        else:
            together.append((key, [member]))
    if mode == "population" and len(found) > 1 and all(len(group) == 1 for _, group in together):
        raise UserError(
            f"--sweep_mode=population: no two of the {len(found)} experiments go into one program,"
            f" for they differ in {_differing(found)}; --sweep_mode=auto runs them one by one"
        )
    return [group for _, group in together]


def shared_out(found: Sequence[list[Member]], jobs: int) -> list[list[Member]]:
    """Groups cut up, the largest first, until there is work for so many jobs at once."""
    units = [list(group) for group in found]
    while len(units) < jobs and max(map(len, units)) > 1:
        largest = max(range(len(units)), key=lambda place: len(units[place]))
        group = units.pop(largest)
        # Every other one, so that large models do not all end up in one half.
        units[largest:largest] = [group[::2], group[1::2]]
    return units


def _differing(found: Sequence[Member]) -> str:
    """Keys that are compiled into a program and differ."""
    kept = [shared(member.config) for member in found]
    keys = sorted(set().union(*kept))
    return ", ".join(
        key for key in keys if any(other.get(key) != kept[0].get(key) for other in kept)
    )


def plan(found: Sequence[list[Member]], units: Sequence[list[Member]], mode: str, jobs: int) -> str:
    """What has been decided, and why, in a few lines."""
    count = sum(map(len, found))
    lines = [f"sweep: {count} experiments, {len(found)} compiled programs"]
    for group in found:
        names = ", ".join(member.folder for member in group[:4])
        more = f" and {len(group) - 4} more" if len(group) > 4 else ""
        why = "by itself" if len(group) == 1 else "one population"
        lines.append(f"  {why}: {names}{more}")
    if len(found) > 1:
        if mode == "sequential":
            lines.append("  apart as --sweep_mode=sequential says")
        else:
            lines.append(f"  apart because of {_differing([group[0] for group in found])}")
    if len(units) > len(found):
        lines.append(f"  cut into {len(units)} pieces, for {jobs} jobs at once")
    return "\n".join(lines)


def work(root: str, unit: Sequence[Member], own_parts: Sequence[str] = ()) -> None:
    """Runs members together, in whatever process this is; what ends one alone is left in
    ``errors/`` beside their folders.

    Raises:
      UserError: naming those that failed.
    """
    malloc.keep_freed()
    compilation.use_cache()
    for own in own_parts:
        parts.load(own)
    for one in unit:  # of an earlier try
        _error(root, one).unlink(missing_ok=True)
    jobs = [Job(one.config, Path(root, one.folder), one.command) for one in unit]
    ended = run_together(jobs)
    failed = []
    for member, found in zip(unit, ended, strict=True):
        if isinstance(found, UserError):
            failed.append(member.folder)
            path = _error(root, member)
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(path, printable(str(found)) + "\n")
    if failed:
        raise UserError(f"failed: {', '.join(failed)}")


def run(
    found: Sequence[Member],
    root: Path,
    *,
    mode: str,
    launcher: str,
    options: Mapping[str, str],
    jobs: int,
    command: str,
) -> None:
    """Runs what is missing of a sweep, and writes its table and report.

    Args:
      found: its members.
      root: its folder.
      mode: one of `MODES`.
      launcher, options, jobs: see `aejax.sweeps.launchers.launch`.
      command: that repeats the sweep.

    Raises:
      UserError: nothing could be begun; or some members failed twice, when the others are finished.
    """
    launchers.check(kind=launcher, jobs=jobs, options=options)
    groups(found, mode)  # what cannot be a population is refused, whatever is finished of it
    _begin(found, root, command)
    missing = [member for member in found if not _finished(root, member)]
    if missing:
        together = groups(missing, "sequential" if mode == "sequential" else "auto")
        units = shared_out(together, jobs)
        print(plan(together, units, mode, jobs), flush=True)
        done = len(found) - len(missing)
        if done:
            print(f"  {done} more are finished")
        problems = _launched(units, root, launcher, options, jobs)
        left = [member for member in missing if not _finished(root, member)]
        if left:
            print(f"again, each by itself: {', '.join(member.folder for member in left)}")
            problems |= _launched([[one] for one in left], root, launcher, options, jobs)
    else:
        print("all experiments of this sweep are finished; their results again:")
        problems = {}
    _end(found, root, problems)


def _begin(found: Sequence[Member], root: Path, command: str) -> None:
    """Writes ``sweep.json``, or makes sure that it is the same sweep, or one with more members: of
    every run that is there, that it is the one that is wanted."""
    path = root / "sweep.json"
    known: list[str] = []
    if os.path.lexists(path):
        known = [member.name for member in run_files.members(root)]
    elif root.exists() and not (root.is_dir() and files.is_empty(root)):
        raise UserError(f"--workdir={root} holds something else than a sweep; give another")
    ours = {member.folder for member in found}
    gone = [folder for folder in known if folder not in ours]
    if gone:
        raise UserError(
            f"{root} holds a sweep with {gone[0]}, which this one does not have; give another"
            " --workdir"
        )
    for member in found:
        Workdir(root / member.folder, member.config)
    entries = [{"folder": member.folder, "overrides": dict(member.overrides)} for member in found]
    try:
        root.mkdir(parents=True, exist_ok=True)
        content = {"members": entries, "command": command}
        files.write_text(path, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"cannot write to --workdir={root} ({error.strerror})") from None


def _error(root: str | Path, member: Member) -> Path:
    return Path(root, "errors", f"{member.folder}.txt")


def _text(path: Path) -> str:
    with files.open_regular(path, _MOST_ERROR) as file:
        return file.read().decode("utf-8", "replace").strip()


def _finished(root: Path, member: Member) -> bool:
    return (root / member.folder / "results.json").exists()


def _launched(
    units: Sequence[list[Member]],
    root: Path,
    launcher: str,
    options: Mapping[str, str],
    jobs: int,
) -> dict[str, str]:
    """Runs units; the error of each member that did not finish, by folder."""
    tasks = [
        launchers.Task(
            name=", ".join(member.folder for member in unit),
            function=work,
            arguments=(str(root), tuple(unit), tuple(sorted(set(parts.outside().values())))),
            log=root / "logs" / f"{unit[0].folder}.txt",
        )
        for unit in units
    ]
    problems = {}
    ended = launchers.launch(tasks, kind=launcher, jobs=jobs, options=options)
    with contextlib.closing(ended):
        for done in ended:
            for member in done.task.arguments[1]:
                if not _finished(root, member):
                    own = _error(root, member)
                    text = _text(own) if own.exists() else done.error
                    problems[member.folder] = text or "it ended without results"
                    print(f"failed: {member.folder}: {problems[member.folder]}", flush=True)
    return problems


def _end(found: Sequence[Member], root: Path, problems: Mapping[str, str]) -> None:
    """The table, the report, and what failed."""
    finished = [member for member in found if _finished(root, member)]
    if finished:
        print(f"\n{table(root, finished)}\n")
        report = root / run_files.REPORT
        defaults = config_module.flatten(config_module.default())
        left = [member.folder for member in found if member not in finished]
        paths = [root / member.folder for member in finished]
        page.write(report, paths, defaults=defaults, unfinished=left)
        print(f"report:  {printable(str(report))}")
    failed = [member.folder for member in found if member not in finished]
    if failed:
        first = f"{failed[0]}: {problems.get(failed[0], 'no results')}"
        raise UserError(
            f"{len(failed)} of {len(found)} experiments failed twice, the first of them {first};"
            " the same command tries them again"
        )


def table(root: Path, finished: Sequence[Member]) -> str:
    """PCA and the model of every member, by its overrides, in one table over all whose features are
    the same, since others have errors of something else."""
    together: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for member in finished:
        results = run_files.read_results(root / member.folder)
        features = config_module.flatten(member.config.representation)
        features["sample_rate"] = member.config.data.sample_rate
        unit = results["units"]["feature_rmse"]
        _, rows = together.setdefault(json.dumps(features), (unit, []))
        rows += _labelled(rows, results["rows"], member)
    return "\n\n".join(
        (f"{json.loads(features)['name']}:\n" if len(together) > 1 else "")
        + results_table(rows, unit)
        for features, (unit, rows) in together.items()
    )


def _labelled(
    known: Sequence[Mapping[str, Any]], rows: Sequence[dict[str, Any]], member: Member
) -> list[dict[str, Any]]:
    """Rows of a member that are not there yet, by its folder where they are its own: PCA of the
    same size, and what has no size, are the same in every member."""
    found = []
    for row in rows:
        own, comma, variant = row["name"].partition(",")
        if own == member.config.name:
            row = row | {"name": f"{member.folder}{comma}{variant}"}
        if row not in known:
            found.append(row)
    return found
