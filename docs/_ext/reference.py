"""A Sphinx extension: pages of the reference that are made from the code.

A page in ``docs/reference/`` has a line ``<!-- keys -->``, ``<!-- parts -->`` or
``<!-- commands -->``, in whose place Markdown is put when the page is read.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from command_help import commands
from docutils import nodes

from aejax import parts
from aejax.config import keys as config_keys
from aejax.runtime import words
from aejax.sections import SECTIONS


def keys() -> Iterator[str]:
    """Every config key: for each section and part a heading and a table."""
    owners = _owners()
    last, titled = None, {room for room, section in SECTIONS.items() if section is not None}
    for full, default, key in config_keys():
        room, _, name = full.rpartition(".")
        section = room.partition(".")[0]
        if section not in titled:  # it has keys of parts alone
            yield from ("", f"## {section}")
            titled.add(section)
        if room != last:
            yield from ("", *_heading(room, owners), "")
            yield from ("| key | default | valid values | meaning |", "|---|---|---|---|")
        last = room
        cells = [f'`{name}`{{id="{full}"}}', _code(default), _valid(default, key.rule)]
        meaning = key.meaning + ("[^member]" if key.per_member else "")
        yield f"| {' | '.join(map(_cell, [*cells, meaning]))} |"


def _owners() -> dict[str, tuple[parts.Registry | None, str, Any]]:
    """Section or part of each dotted prefix of keys, with its registry and name."""
    owners: dict[str, Any] = {}
    for room, section in SECTIONS.items():
        owners[room] = None, room, section
    for registry in parts.REGISTRIES:
        for name, part in registry.items():
            owners[f"{registry.room}.{name}"] = registry, name, part
    return owners


def _heading(room: str, owners: dict[str, Any]) -> Iterator[str]:
    registry, name, owner = owners[room]
    if registry is None:
        level = "##" if "." not in room else "###"
        yield from (f"{level} {room or 'Top level'}", "", first_paragraph(owner))
    else:
        link = f"[{registry.kind} `{name}`](parts.md#{registry.kind}-{name})"
        yield from (f"### {room}", "", f"Of the {link}: {first_paragraph(owner)}")


def _valid(default: Any, rule: parts.Rule) -> str:
    if rule.description:
        return rule.description
    kinds = {bool: "True or False", str: "any text"}
    return kinds.get(type(default), "")


def each_part() -> Iterator[str]:
    """Every part by kind, with the first paragraph of its docstring."""
    full_names = [full for full, _, _ in config_keys()]
    for registry in parts.REGISTRIES:
        yield from ("", f"## {words.plural(registry.kind).capitalize()}", "", _choice(registry))
        for name, part in registry.items():
            path = f"{part.__module__}.{part.__qualname__}"
            yield from ("", f"({registry.kind}-{name})=", f"### {name}", "")
            yield from (first_paragraph(part), "", f"Class: `{path}`.")
            prefix = f"{registry.room}.{name}."
            own = [full for full in full_names if full.startswith(prefix)]
            if own:
                links = [f"{{key}}`{full.removeprefix(prefix)} <{full}>`" for full in own]
                yield f"\nKeys, after `{prefix}`: {', '.join(links)}."


def _choice(registry: parts.Registry) -> str:
    if not registry.choice:
        return f"Used if its weight is above 0: `{registry.room}.NAME.weight`."
    full = f"{registry.room}.{registry.choice}"
    return f"Chosen by {{key}}`{full}`; their keys are `{registry.room}.NAME.KEY`."


def first_paragraph(owner: Any) -> str:
    """The first paragraph of a docstring, as Markdown in one line."""
    text = " ".join((inspect.getdoc(owner) or "").partition("\n\n")[0].split())
    return re.sub(r"``(.+?)``", r"`\1`", text)


def _code(value: Any) -> str:
    return f"`{value!r}`"


def _cell(text: str) -> str:
    """Text of a cell: quotes and bars stand as they are."""
    return text.replace("|", r"\|").replace("''", r"`''`") if "`" not in text else text


PAGES = {"keys": keys, "parts": each_part, "commands": commands}


def _fill(app: Any, page: str, source: list[str]) -> None:
    if page == "index":  # Sphinx warns of a pattern that no page matches
        source[0] = re.sub(r"(?m)^\S+\*\n", lambda x: x[0] * _is_page(app, x[0]), source[0])
    for name, lines in PAGES.items():
        marker = f"<!-- {name} -->\n"
        if page.startswith("reference/") and marker in source[0]:
            source[0] = source[0].replace(marker, "\n".join(lines()) + "\n")
    if page == "reference/config":  # what the role `key` and the search look up
        for full, _, _ in config_keys():
            app.env.domains.standard_domain.note_object("key", full, nodes.make_id(full))


def _is_page(app: Any, pattern: str) -> bool:
    return any(Path(app.srcdir).glob(f"{pattern.strip()}.md"))


def _outdated(*_: Any) -> list[str]:
    """They are read anew in every build, since they change with the code."""
    return ["reference/config", "reference/parts", "reference/commands"]


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx. In any page, {key}`model.latent_dim` is a link to that key."""
    app.add_object_type("key", "key", objname="config key")
    app.connect("source-read", _fill)
    app.connect("env-get-outdated", _outdated)
    return {"parallel_read_safe": True}
