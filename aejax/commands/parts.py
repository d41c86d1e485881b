"""``aejax parts``: the encoders, losses and other parts of configs, with their keys."""

import argparse
import inspect
from typing import Any

from aejax import parts
from aejax.runtime import words
from aejax.runtime.errors import UserError


def add(commands: Any) -> dict[str, Any]:
    """Adds the parser; returns the function of the command, by name."""
    about = "list the encoders, losses, augmentations and other parts of configs, and their keys"
    parser = commands.add_parser("parts", help=about, description=about)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a part; prints its keys")
    return {"parts": _parts}


def _parts(options: argparse.Namespace) -> None:
    print(describe(options.name) if options.name else overview())


def overview() -> str:
    """All parts, by kind, each with the first line of its docstring."""
    from aejax import config  # noqa: F401  registers aejax's own parts

    lines = []
    for registry in parts.REGISTRIES:
        lines += ["", f"{words.plural(registry.kind)}:"]
        width = max(map(len, registry), default=0)
        lines += [f"  {name:{width}}  {_first_line(part)}" for name, part in registry.items()]
    return "\n".join(lines[1:])


def describe(name: str) -> str:
    """Description and keys, with defaults and meanings, of every part of that name.

    Raises:
      UserError: no part has that name.
    """
    from aejax.config import keys  # other commands start at once, without JAX

    known = {other for registry in parts.REGISTRIES for other in registry}
    if name not in known:
        raise UserError(f"aejax parts: {name!r} {parts.unknown(name, sorted(known))}")
    blocks = []
    for registry in parts.REGISTRIES:
        if name not in registry:
            continue
        lines = [f"{registry.kind} {name}: {_about(registry[name])}"]
        for full, usual, about in keys():
            if full.startswith(f"{registry.room}.{name}."):
                bounds = f"; {about.rule.description}" if about.rule.description else ""
                lines += [f"  config.{full}={usual!r}", f"      {about.meaning}{bounds}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _about(part: Any) -> str:
    """The docstring of a part; "" if it has only the signature that a dataclass writes there."""
    text = inspect.getdoc(part) or ""
    return "" if text.startswith(f"{part.__name__}(") else text


def _first_line(part: Any) -> str:
    text = _about(part).partition("\n\n")[0]
    first = " ".join(text.split())
    return first.partition(". ")[0].partition(": ")[0].removesuffix(".")
