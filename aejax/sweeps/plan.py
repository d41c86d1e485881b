"""The plan of a sweep: its members, and the groups that share a compiled program."""

import dataclasses
import itertools
import re
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from aejax import config as config_module
from aejax.runtime import words
from aejax.runtime.errors import UserError
from aejax.sweeps.members import compiled_config
from aejax.sweeps.search.space import parse_choices

# Names in a sweep's folder that are not those of members.
_RESERVED = ("errors", "logs", "sweep.json", "report.html")
MODES = ("auto", "population", "sequential")
Overrides = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Member:
    """An experiment of a sweep.

    Attributes:
      overrides: changes to the sweep's config, by flat key.
      folder: name of its folder in the sweep's folder.
      config: the sweep's config with the overrides.
      command: command line that repeats this experiment alone.
    """

    overrides: Overrides
    folder: str
    config: ConfigDict
    command: str


def grid(text: str, config: ConfigDict) -> list[dict[str, Any]]:
    """Every combination of ``"model.latent_dim=4,8 seed=0,1"``, the last key fastest.

    Raises:
      UserError: it cannot be read, or a key or a value occurs twice.
    """
    known = config_module.flatten(config)
    axes: dict[str, tuple[Any, ...]] = {}
    for word in text.split():
        key, equals, values = word.partition("=")
        if not equals or not values:
            raise UserError(f"--sweep: {word!r} must be KEY=VALUE,VALUE,...")
        config_module.check_known(key, known)
        if key in axes:
            raise UserError(f"--sweep: {key} occurs twice; list all its values in one place")
        axes[key] = parse_choices("--sweep", word, values, known[key])
    combinations = itertools.product(*axes.values())
    return [dict(zip(axes, values, strict=True)) for values in combinations]


def file_overrides(path: str) -> list[dict[str, Any]]:
    """The overrides that an experiment file's ``sweep()`` returns.

    Raises:
      UserError: the file has no ``sweep()``, or it returns something else.
    """
    function = runpy.run_path(path.partition(":")[0]).get("sweep")
    if function is None:
        raise UserError(
            f"{path} has no sweep(); give a grid, such as --sweep='model.latent_dim=8,16,32'"
        )
    overrides = list(function())
    if not all(isinstance(x, dict) and all(isinstance(key, str) for key in x) for x in overrides):
        raise UserError(f"{path}: sweep() must return dicts of keys and values")
    return overrides


def make_members(
    config: ConfigDict,
    all_overrides: Iterable[Overrides],
    command: Callable[[ConfigDict, str], str],
) -> list[Member]:
    """The members of a sweep, with valid configs.

    Args:
      config: of the sweep.
      all_overrides: of each member, from `file_overrides` or `grid`.
      command: returns the command line that repeats a member alone, from its config and folder.

    Raises:
      UserError: a config is invalid, two members have the same folder, or there is no member.
    """
    all_overrides = [dict(overrides) for overrides in all_overrides]
    keys = list(dict.fromkeys(key for overrides in all_overrides for key in overrides))
    members: list[Member] = []
    for overrides in all_overrides:
        folder = _folder(overrides, keys)
        if folder.casefold() in _RESERVED:
            raise UserError(f"{folder} is a reserved name in the folder of a sweep; choose another")
        try:
            changed = config_module.override(config, overrides)
            config_module.validate(changed)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from None
        if any(member.folder.casefold() == folder.casefold() for member in members):
            raise UserError(f"two experiments of the sweep would both use the folder {folder}")
        members.append(Member(overrides, folder, changed, command(changed, folder)))
    if not members:
        raise UserError("the sweep has no experiments")
    return members


def _folder(overrides: Overrides, keys: Sequence[str]) -> str:
    """A member's folder, such as ``latent_dim=8,seed=1``; its name if that is overridden.

    Keys with the same end are written in full."""
    if "name" in overrides:
        return str(overrides["name"])
    ends = [key.partition(".")[2] or key for key in keys]
    short = {key: end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)}
    text = ",".join(f"{short[key]}={_as_text(value)}" for key, value in overrides.items())
    return re.sub(r"[^A-Za-z0-9_.,=+-]", "_", text)[:200] or "as_it_is"


def _as_text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def group_members(members: Sequence[Member], mode: str) -> list[list[Member]]:
    """Groups of members that share a compiled program, ordered by their first members.

    Args:
      members: of a sweep.
      mode: one of `MODES`; "sequential" makes a group of each member.

    Raises:
      UserError: with "population", no two members can be trained in one program.
    """
    if mode == "sequential":
        return [[member] for member in members]
    groups: list[tuple[dict[str, Any], list[Member]]] = []
    for member in members:
        key = compiled_config(member.config)
        for other, group in groups:
            if other == key:
                group.append(member)
                break
        else:
            groups.append((key, [member]))
    if mode == "population" and len(members) > 1 and all(len(group) == 1 for _, group in groups):
        raise UserError(
            f"--sweep_mode=population: no two of the {len(members)} experiments can share a"
            f" compiled program: they differ in {_differing_keys(members)}; --sweep_mode=auto runs"
            " them one by one"
        )
    return [group for _, group in groups]


def split_for_jobs(groups: Sequence[list[Member]], jobs: int) -> list[list[Member]]:
    """Groups split for parallel jobs: the largest is halved until there are as many as jobs."""
    units = [list(group) for group in groups]
    while len(units) < jobs and max(map(len, units)) > 1:
        largest = max(range(len(units)), key=lambda index: len(units[index]))
        group = units.pop(largest)
        # Every second member, so that not all large models are in one half.
        units[largest:largest] = [group[::2], group[1::2]]
    return units


def _differing_keys(members: Sequence[Member]) -> str:
    """Keys that affect the compiled program and differ between members."""
    configs = [compiled_config(member.config) for member in members]
    keys = sorted(set().union(*configs))
    return ", ".join(
        key for key in keys if any(other.get(key) != configs[0].get(key) for other in configs)
    )


def describe(
    groups: Sequence[list[Member]], units: Sequence[list[Member]], mode: str, jobs: int
) -> str:
    """The plan and its reasons, in a few lines."""
    count = sum(map(len, groups))
    lines = [
        f"sweep: {words.count(count, 'experiment')}, {words.count(len(groups), 'compiled program')}"
    ]
    for group in groups:
        names = ", ".join(member.folder for member in group[:4])
        more = f" and {len(group) - 4} more" if len(group) > 4 else ""
        kind = "single" if len(group) == 1 else "one population"
        lines.append(f"  {kind}: {names}{more}")
    if len(groups) > 1:
        if mode == "sequential":
            lines.append("  separate because of --sweep_mode=sequential")
        else:
            differing = _differing_keys([group[0] for group in groups])
            lines.append(f"  separate because they differ in {differing}")
    if len(units) > len(groups):
        lines.append(f"  split into {len(units)} parts for {jobs} parallel jobs")
    return "\n".join(lines)
