"""The config of an experiment: its default, overrides and validation.

Keys of a part, such as ``model.conv.width``, are fields of its class, see `aejax.parts`. All other
keys are in `aejax.sections`.
"""

import difflib
import functools
import operator
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from aejax import augmentations, losses, parts
from aejax.runtime import files
from aejax.runtime.errors import UserError
from aejax.sections import SECTIONS, Chain

# Keys of files and folders.
PATHS = ("data.path", "data.labels", "augment.noise.path")


def keys() -> Iterator[tuple[str, Any, parts.Key]]:
    """Every config key with its default and `aejax.parts.Key`, section by section."""
    for room, section in SECTIONS.items():
        if section is not None:
            yield from _keys_of(room, section)
        for registry in parts.REGISTRIES:
            if registry.room == room:
                for name, part in registry.items():
                    yield from _keys_of(f"{room}.{name}", part)


def _keys_of(room: str, section: Any) -> Iterator[tuple[str, Any, parts.Key]]:
    for name, (default, key) in parts.keys_of(section).items():
        default = augmentations.default_chain() if section is Chain else default
        yield f"{room}.{name}".lstrip("."), default, key


def default() -> ConfigDict:
    """A new config with all keys at their defaults; an experiment changes some of them."""
    config = ConfigDict()
    for full, value, _ in keys():
        *rooms, name = full.split(".")
        group = config
        for room in rooms:
            if room not in group:
                group[room] = ConfigDict()
            group = group[room]
        group[name] = value
    return config


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Dotted keys to values: ``{"model.latent_dim": 32}``."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= {f"{name}.{inner}": leaf for inner, leaf in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def override(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """A copy with some keys changed: ``override(config, {"model.latent_dim": 8})``.

    Integers become floats and lists become tuples if the key has one. Call `validate` afterwards.

    Args:
      config: the original, unchanged.
      overrides: dotted keys to values.

    Raises:
      UserError: there is no such key, or its value is of another type.
    """
    known = flatten(config)
    changed = config.copy_and_resolve_references()
    for full, value in overrides.items():
        check_known(full, known)
        if isinstance(known[full], float) and type(value) is int:
            value = float(value)
        if isinstance(known[full], tuple) and isinstance(value, list):
            value = tuple(value)
        _check_type(full, value, known[full])
        *rooms, name = full.split(".")
        functools.reduce(operator.getitem, rooms, changed)[name] = value
    return changed


def expand_paths(config: ConfigDict) -> ConfigDict:
    """A copy with absolute paths, so that configs of one run are equal from any working directory.

    Raises:
      UserError: a path names an unknown user.
    """
    flat = flatten(config)
    return override(config, {name: str(files.expand(flat[name])) for name in PATHS if flat[name]})


def check_known(full: str, known: Collection[str]) -> None:
    """Checks that a config key exists.

    Raises:
      UserError: it does not; similar keys are suggested.
    """
    if full in known:
        return
    end = full.rpartition(".")[2]
    same = [name for name in sorted(known) if name.rpartition(".")[2] == end]
    near = [name for name in same if name.startswith(full[:4])] or same
    near = near[:3] or difflib.get_close_matches(full, sorted(known), n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UserError(f"unknown config key {full}{hint}")


def validate(config: ConfigDict) -> None:
    """Checks a config before anything is read or written.

    Raises:
      UserError: a key is invalid; with its value and what it must be.
    """
    known = {full: (default, key.rule) for full, default, key in keys()}
    flat = flatten(config)
    for full in flat:
        check_known(full, known)
    for full in known.keys() - flat.keys():
        raise UserError(f"config key {full} is missing; begin with aejax.config.default()")
    for full, value in flat.items():
        default, rule = known[full]
        _check_type(full, value, default)
        if problem := rule(value):
            raise UserError(f"config.{full}={value!r} {problem}")
    _check_unused(config, flat, {full: default for full, (default, _) in known.items()})
    for registry in parts.REGISTRIES:
        for name in _chosen(config, registry):
            _check(registry[name], config)
    for section in SECTIONS.values():
        _check(section, config)
    losses.check(config)
    augmentations.check(config)


def _check_type(full: str, value: Any, example: Any) -> None:
    kinds = (int, float) if isinstance(example, float) else (type(example),)
    if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(example, bool)):
        raise UserError(f"config.{full}={value!r} must be of type {type(example).__name__}")
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise UserError(f"config.{full}={value!r} must be finite")


def _check(section: Any, config: ConfigDict) -> None:
    """Calls the `check` of a part or section, if it has one."""
    if hasattr(section, "check"):
        section.check(config)


def _chosen(config: ConfigDict, registry: parts.Registry) -> list[str]:
    """Names of the parts that a config uses."""
    if registry is parts.losses:
        return losses.used(config)
    chosen = config[registry.room][registry.choice]
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    if registry is parts.encoders and config.model.decoder:
        names.append(config.model.decoder)
    return names


def _check_unused(config: ConfigDict, flat: Mapping[str, Any], default: Mapping[str, Any]) -> None:
    """Refuses changed keys of unused parts."""
    for registry in parts.REGISTRIES:
        names = _chosen(config, registry)
        for name, part in registry.items():
            for own in parts.keys_of(part) if name not in names else ():
                full = f"{registry.room}.{name}.{own}"
                is_switch = registry is parts.losses and own == "weight"
                if flat[full] == default[full] or is_switch:
                    continue
                choice = f"{registry.room}.{registry.choice}={','.join(names)}"
                if registry is parts.losses:
                    choice = f"loss.{name}.weight=0"
                raise UserError(
                    f"config.{full}={flat[full]!r} has no effect with {choice}; leave it out"
                )


def differences(config: ConfigDict, other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys that differ from a flattened ``config.json``, with both values: (ours, theirs)."""
    ours = {key: _plain(value) for key, value in flatten(expand_paths(config)).items()}
    paths = {
        key: other[key] and str(files.expand(other[key]))
        for key in PATHS
        if isinstance(other.get(key), str)
    }
    other = other | paths
    return {
        key: (ours.get(key), other.get(key))
        for key in sorted(ours.keys() | other.keys())
        if ours.get(key) != other.get(key)
    }


def _plain(value: Any) -> Any:
    """The value after a round trip through JSON."""
    return list(value) if isinstance(value, tuple) else value


def from_saved(saved: Mapping[str, Any]) -> ConfigDict:
    """The config of a parsed ``config.json``; missing keys have their defaults.

    Raises:
      UserError: it is not a valid config.
    """
    config = override(default(), flattened(saved))
    validate(config)
    return config


def flattened(saved: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`flatten` for parsed JSON."""
    flat: dict[str, Any] = {}
    for key, value in saved.items():
        inner = isinstance(value, dict)
        flat |= flattened(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def to_json(config: ConfigDict) -> str:
    """The content of ``config.json``."""
    return config.to_json_best_effort(indent=2, sort_keys=False) + "\n"
