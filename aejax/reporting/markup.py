"""Tables of results in HTML and Markdown."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aejax.reporting.table import COLUMNS, Form


def as_html(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    """Rows of ``results.json`` as a table in HTML; ``unit`` of the features."""
    head, *body = _cells(rows, unit)

    def line(kind: str, cells: Iterable[str]) -> str:
        inside = "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells)
        return f"<tr>{inside}</tr>"

    lines = "\n".join(line("td", cells) for cells in body)
    return f"<table>\n<thead>{line('th', head)}</thead>\n<tbody>\n{lines}\n</tbody>\n</table>"


def as_markdown(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    """Rows of ``results.json`` as a table in Markdown; ``unit`` of the features."""
    head, *body = _cells(rows, unit)
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = [" | ".join(map(escaped, cells)) for cells in (head, *body)]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join(rule), *lines[1:]))


def escaped(text: str) -> str:
    """A text whose characters mean nothing to Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", text)


def _cells(rows: Sequence[Mapping[str, Any]], unit: str) -> list[list[str]]:
    """A heading and a line for each row, without columns that have no values."""
    shown = f" ({unit})" if unit != "1" else ""
    columns = [column for column in COLUMNS if any(row.get(column[2]) is not None for row in rows)]
    head = ["", *(f"{above} {below.format(unit=shown)}".strip() for above, below, _, _ in columns)]
    lines = [[row["name"], *(_cell(row, key, form) for _, _, key, form in columns)] for row in rows]
    return [head, *lines]


def _cell(row: Mapping[str, Any], key: str, form: Form) -> str:
    """A value, with its 95 % interval if it has one."""
    interval = (row.get("interval_95") or {}).get(key)
    if interval is None:
        return form(row.get(key))
    low, high = map(form, interval)
    return f"{form(row.get(key))} ({low} to {high})"
