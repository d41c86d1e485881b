"""Parts: classes that a config can name, whose fields are config keys.

A part is a class in any file, registered under the name that configs use::

    @encoders.register("my_net")
    class MyNet(nn.Module):
        \"\"\"A network, with its source.\"\"\"

        out: int  # set by aejax
        width: int = key(256, at_least(1), "channels inside")  # config.model.my_net.width

A field made by `key` is a config key. aejax sets fields without a default when it builds the part.
A part may have a classmethod ``check(config)`` that raises `UserError` for incompatible keys.
"""

import dataclasses
import difflib
import functools
import operator
import os
import re
import runpy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ml_collections import ConfigDict

from aejax.runtime import files, words
from aejax.runtime.errors import UserError

Part = TypeVar("Part", bound=type)
_KEY = "aejax.parts.Key"
_AEJAX = Path(__file__).parent
# Inside of an installed aejax, beside that of a checkout; parts in them are like a user's.
_INSTALLED = _AEJAX / "experiments"
EXPERIMENTS = _INSTALLED if _INSTALLED.is_dir() else _AEJAX.parent / "experiments"


class Key(NamedTuple):
    """The rule and meaning of a config key.

    Attributes:
      rule: its valid values.
      meaning: one line, with the unit.
      per_member: whether members of a population (trained by one compiled step) may differ in it.
    """

    rule: "Rule"
    meaning: str
    per_member: bool


def key(default: Any, rule: "Rule", meaning: str, *, per_member: bool = False) -> Any:
    """A dataclass field that is a config key, with its default, rule and meaning."""
    return dataclasses.field(default=default, metadata={_KEY: Key(rule, meaning, per_member)})


def keys_of(section: type) -> dict[str, tuple[Any, Key]]:
    """The config keys among the fields of a dataclass: default and `Key`, by name."""
    return {
        field.name: (field.default, field.metadata[_KEY])
        for field in dataclasses.fields(section)
        if _KEY in field.metadata
    }


class Registry:
    """Parts of one kind, by name.

    Args:
      kind: singular: "encoder".
      room: section of the config with their keys: ``config.<room>.<name>``.
      choice: key in that section with the name of the chosen part or parts; "" if a part's weight
        switches it on.
    """

    def __init__(self, kind: str, room: str, choice: str):
        self.kind, self.room, self.choice = kind, room, choice
        self._parts: dict[str, Any] = {}
        self.files: dict[str, str] = {}  # file that registers each name

    def register(self, name: str) -> Callable[[Part], Part]:
        """A decorator that makes a class a part.

        Raises:
          ValueError: the name is invalid, or taken by a class of another file.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{name!r} must be lower-case letters, digits and '_'")

        file = os.path.abspath(sys._getframe(1).f_code.co_filename)

        def decorate(part: Part) -> Part:
            for other in REGISTRIES:
                taken = other.files.get(name, file) if other.room == self.room else file
                if taken != file:
                    raise ValueError(f"{self.room}.{name} is taken by {taken}")
            self._parts[name], self.files[name] = part, file
            part.part_name = name  # type: ignore[attr-defined]
            return part

        return decorate

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and classes."""
        return iter(self._parts.items())

    def build(self, name: str, room: ConfigDict, **fields: Any) -> Any:
        """A part by name; see `aejax.parts.build`."""
        return build(self._parts[name], room.get(name, {}), **fields)


def build(part: Any, values: Mapping[str, Any] | ConfigDict, **available: Any) -> Any:
    """An instance of a part: its keys from ``values``, its other fields from ``available``."""
    fields = {field.name for field in dataclasses.fields(part)}
    keys = {name: values[name] for name in keys_of(part)}
    keys = {name: tuple(x) if isinstance(x, list) else x for name, x in keys.items()}
    return part(**{name: x for name, x in available.items() if name in fields}, **keys)


representations = Registry("representation", "representation", "name")
encoders = Registry("encoder", "model", "encoder")
bottlenecks = Registry("bottleneck", "model", "bottleneck")
losses = Registry("loss", "loss", "")
augmentations = Registry("augmentation", "augment", "chain")
optimizers = Registry("optimizer", "train", "optimizer")
loggers = Registry("logger", "log", "loggers")
REGISTRIES = (
    representations,
    encoders,
    bottlenecks,
    losses,
    augmentations,
    optimizers,
    loggers,
)


def outside() -> dict[str, str]:
    """A user's own parts: ``"model.my_net"`` to the file that registers it."""
    return {
        f"{registry.room}.{name}": file
        for registry in REGISTRIES
        for name, file in registry.files.items()
        if not is_of_aejax(file)
    }


def is_of_aejax(file: str | Path) -> bool:
    """Whether a file is a module of aejax itself; its experiments are none."""
    path = Path(file)
    return path.is_relative_to(_AEJAX) and not path.is_relative_to(_INSTALLED)


def load(path: str | Path) -> None:
    """Runs a file that registers parts, once.

    Raises:
      UserError: the file does not exist.
    """
    path = files.expand(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file of parts")
    if str(path) not in outside().values():
        runpy.run_path(str(path))


# Rules.

MOST = 2**31 - 1  # default upper bound: the largest int32


@dataclasses.dataclass(frozen=True)
class Rule:
    """The valid values of a key.

    Attributes:
      problem: a function from a value to what is wrong with it, or "".
      description: of valid values, "at least 1"; "" for any.
    """

    problem: Callable[[Any], str]
    description: str

    def __call__(self, value: Any) -> str:
        """What is wrong with a value, or ""."""
        return self.problem(value)


def rule(is_valid: Callable[[Any], bool], description: str) -> Rule:
    """A rule of one condition: ``rule(lambda x: x % 2 == 0, "even")``."""
    return Rule(lambda value: "" if is_valid(value) else f"must be {description}", description)


anything = Rule(lambda value: "", "")
fraction = rule(lambda value: 0 <= value <= 1, "from 0 to 1")


def at_least(low: float, most: float = MOST) -> Rule:
    """From ``low`` to ``most``, both included."""
    return Rule(
        lambda value: f"must be at least {low:.10g}" if value < low else _too_much(value, most),
        f"at least {low:.10g}{_up_to(most)}",
    )


def above(low: float, most: float = MOST) -> Rule:
    """Above ``low``, up to ``most``."""
    return Rule(
        lambda value: f"must be above {low:.10g}" if value <= low else _too_much(value, most),
        f"above {low:.10g}{_up_to(most)}",
    )


def _too_much(value: float, most: float) -> str:
    return "" if value <= most else f"must be at most {most:.10g}"


def _up_to(most: float) -> str:
    return "" if most == MOST else f", at most {most:.10g}"


def between(low: float, high: float) -> Rule:
    """From ``low`` up to but not ``high``."""
    return rule(lambda value: low <= value < high, f"at least {low:.10g} and below {high:.10g}")


def one_of(*known: str) -> Rule:
    """One of a few names; the message for others suggests the closest."""
    return Rule(lambda value: unknown(value, known), f"one of {', '.join(known)}")


def registered(registry: Registry, *others: str) -> Rule:
    """The name of a part, or one of ``others``."""
    return Rule(lambda value: unknown(value, (*registry, *others)), "the name of a part")


def several(registry: Registry) -> Rule:
    """Different names of parts, or none."""

    def problem(value: tuple[str, ...]) -> str:
        wrong = [message for name in value if (message := unknown(name, registry))]
        twice = "" if len(set(value)) == len(value) else "must not repeat a name"
        return wrong[0] if wrong else twice

    return Rule(problem, f"different names of {words.plural(registry.kind)}")


def unknown(value: Any, known: Iterable[str]) -> str:
    """What is wrong with a name that is not one of ``known``; "" if it is."""
    names = list(known)
    if value in names:
        return ""
    near = difflib.get_close_matches(str(value), names, n=1)
    shown = ", ".join(name or repr(name) for name in names)
    return f"must be one of {shown}" + (f"; did you mean {near[0]}?" if near else "")


def pair(low: float, high: float) -> Rule:
    """Two numbers, the second not below the first."""

    def is_valid(value: Any) -> bool:
        numbers = len(value) == 2 and all(is_number(x) for x in value)
        return bool(numbers and low <= value[0] <= value[1] <= high)

    return rule(is_valid, f"two numbers from {low:.10g} to {high:.10g}, the lower one first")


def integers(low: int, high: int, most: int = 4096) -> Rule:
    """One to ``most`` integers."""

    def is_valid(value: Any) -> bool:
        return 0 < len(value) <= most and all(
            isinstance(x, int) and not isinstance(x, bool) and low <= x <= high for x in value
        )

    return rule(is_valid, f"one or more integers from {low} to {high}")


def is_number(value: Any) -> bool:
    """Whether it is an integer or a float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# For `check` methods.


def value(config: ConfigDict, full: str) -> Any:
    """The value of a dotted key."""
    return functools.reduce(operator.getitem, full.split("."), config)


def needs(section: type, config: ConfigDict, full: str, other: str, is_used: bool) -> None:
    """Checks that a key is set only if another key makes use of it.

    Args:
      section: part or section with the key.
      config: of an experiment.
      full: the key, dotted.
      other: the other key, dotted.
      is_used: whether the key has an effect.

    Raises:
      UserError: the key has no effect; with both keys.
    """
    default, _ = keys_of(section)[full.rpartition(".")[2]]
    if not is_used and value(config, full) != default:
        raise UserError(
            f"config.{full}={value(config, full)!r} has no effect with {other}="
            f"{value(config, other)}; leave it out"
        )


def at_most(size: float, most: float, what: str) -> None:
    """Checks a size that needs memory, since configs may come from untrusted sources.

    Raises:
      UserError: it is more than ``most``.
    """
    if size > most:
        raise UserError(f"config: {what} = {size:g} must be at most {most:g}")
