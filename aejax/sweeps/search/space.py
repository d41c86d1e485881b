"""The space of a search: config keys with their possible values."""

import ast
import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ml_collections import ConfigDict

from aejax import parts
from aejax.config import check_known, flatten
from aejax.runtime.errors import UserError

_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?::(.*))?")
# Keys that change the unit of errors, and keys that change the features.
_UNITS = ("representation.name", "representation.compression")
_FEATURES = (
    *("representation.", "data.path", "data.include", "data.sample_rate", "data.channels"),
    *("data.split", "data.validation", "data.test", "data.synthetic."),
)
# Keys that change the latent rate in floats per second, and, for quantised latents, in bits.
_FLOATS = {"model.latent_dim", "model.downsampling", "representation.hop_length"}
_FLOATS |= {"data.sample_rate"}
_BITS = {"model.bottleneck", "model.fsq.levels", "model.vq.codebook_size"}
_BITS |= {"model.rvq.codebook_size", "model.rvq.num_quantizers"}
FLOAT_RATE, BIT_RATE = "latent_floats_per_second", "bits_per_second"


@runtime_checkable
class Suggesting(Protocol):
    """An Optuna trial, which chooses values."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool) -> int:
        """An integer from ``low`` to ``high``."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """A number from ``low`` to ``high``."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of the choices."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, integers if both are; on a log scale with ``log``."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Suggesting, key: str) -> int | float:
        """The value for a trial."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(key, self.low, self.high, log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)

    def read(self, stored: Any) -> Any:
        """The value stored in the journal."""
        return stored

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{':log' if self.log else ''}"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def suggest(self, trial: Suggesting, key: str) -> Any:
        """The value for a trial."""
        return self.read(trial.suggest_categorical(key, [str(value) for value in self.values]))

    def read(self, stored: Any) -> Any:
        """The value from its text in the journal; Optuna stores no tuples."""
        return {str(value): value for value in self.values}[stored]

    def __str__(self) -> str:
        return ",".join(str(value).replace(" ", "") for value in self.values)


Space: TypeAlias = Mapping[str, Range | Choice]


def parse_space(text: str, config: ConfigDict) -> dict[str, Range | Choice]:
    """Keys with their possible values, in the order of ``--search_space``.

    Args:
      text: words of the form ``KEY=LOW..HIGH``, ``KEY=LOW..HIGH:log`` or ``KEY=A,B,C``. A range
        includes both ends, and only integers if the key is an integer.
      config: has all keys, with values of their types.

    Raises:
      UserError: a word is invalid.
    """
    known, space = flatten(config), {}
    for word in text.split():
        key, equals, values = word.partition("=")
        if not equals or not values:
            raise UserError(
                f"--search_space: {word!r} must be KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=A,B,C"
            )
        check_known(key, known)
        if key in space:
            raise UserError(f"--search_space: {key} occurs twice")
        space[key] = _parse(word, values, known[key])
        if key in _UNITS:
            raise UserError(
                f"--search_space: {key}: the errors of its values are not comparable; search"
                " each of them separately"
            )
    if not space:
        raise UserError(
            "--search_space is empty; give keys and values, such as"
            ' --search_space="model.latent_dim=4..64:log model.encoder=conv,mlp"'
        )
    return space


def _parse(word: str, values: str, example: Any) -> Range | Choice:
    is_number = isinstance(example, (int, float)) and not isinstance(example, bool)
    match = _RANGE.fullmatch(values)
    if match and not is_number:
        kind = type(example).__name__
        raise UserError(f"--search_space: {word}: a {kind} has no range; give values, A,B,C")
    if is_number and ".." in values:
        if not match:
            raise UserError(f"--search_space: {word}: the range must be LOW..HIGH or LOW..HIGH:log")
        return _parse_range(word, match, example)
    choices = parse_choices("--search_space", word, values, example)
    if len(choices) < 2:
        raise UserError(f"--search_space: {word} must have two or more values")
    return Choice(choices)


def _parse_range(word: str, match: re.Match[str], example: int | float) -> Range:
    low, high = (_parse_value("--search_space", word, text, example) for text in match.groups()[:2])
    if match[3] not in (None, "log"):
        raise UserError(f"--search_space: {word}: only ':log' may follow the range")
    log = match[3] == "log"
    if low >= high:
        raise UserError(f"--search_space: {word}: {low} is not below {high}")
    if log and low <= 0:
        raise UserError(f"--search_space: {word}: a logarithm needs a range above 0")
    return Range(low, high, log)


def parse_choices(flag: str, word: str, values: str, example: Any) -> tuple[Any, ...]:
    """The values of a key, from text with commas between them.

    Args:
      flag: the command-line flag, for messages.
      word: the whole word of the flag, for messages.
      values: the text.
      example: a value of the key's type.

    Raises:
      UserError: a value cannot be read, or occurs twice.
    """
    if isinstance(example, tuple):
        parsed = _parse_tuples(flag, word, values)
    else:
        parsed = tuple(_parse_value(flag, word, text, example) for text in values.split(","))
    if len(set(parsed)) < len(parsed):
        raise UserError(f"{flag}: {word} has a value twice")
    return parsed


def _parse_tuples(flag: str, word: str, values: str) -> tuple[Any, ...]:
    try:
        parsed = ast.literal_eval(f"[{values}]")
        hash(tuple(parsed))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        parsed = [None]
    if not all(isinstance(value, tuple) for value in parsed):
        raise UserError(f"{flag}: {word}: the values must be tuples, such as (4,8),(2,4,8) or (4,)")
    return tuple(parsed)


def _parse_value(flag: str, word: str, text: str, example: Any) -> Any:
    if isinstance(example, bool):
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise UserError(f"{flag}: {word}: {text!r} is neither true nor false")
    if isinstance(example, str):
        return text
    kind, expected = (int, "an integer") if isinstance(example, int) else (float, "a number")
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{flag}: {word}: {text!r} is not {expected}")
    return value


def other_features(space: Space) -> list[str]:
    """The keys of a space that change the features, so that errors are not comparable."""
    return [key for key in space if key.startswith(_FEATURES)]


def rate_of(config: ConfigDict, space: Space) -> tuple[str, bool]:
    """The name of the latent rate in results, and whether it differs between trials.

    It is in bits per second if every bottleneck quantises, else in floats per second."""
    bottlenecks = space.get("model.bottleneck")
    names = bottlenecks.values if isinstance(bottlenecks, Choice) else (config.model.bottleneck,)
    quantised = all(parts.bottlenecks[name].quantises for name in names)
    keys = _FLOATS | _BITS if quantised else _FLOATS
    return BIT_RATE if quantised else FLOAT_RATE, any(key in space for key in keys)
