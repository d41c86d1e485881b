"""The report: a self-contained HTML file of one or more runs."""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from aejax.reporting import audio_clips, curve, details, headline, media, pictures, sound
from aejax.reporting.examples import read_examples
from aejax.reporting.run_files import Run, folder_names, read_run
from aejax.reporting.table import Column, columns_of, notes_of
from aejax.runtime import files

# Bytes in the page; base64 turns 3 bytes into 4.
CLIP_BUDGET, SNIPPET_BUDGET, PICTURE_BUDGET = 24 << 20, 8 << 20, 5 << 20
_MOST_SNIPPETS = 2000
_MOST_WORST = 400  # clips in all tables of the worst clips together

_GENERATOR = '<meta name="generator" content="aejax">'
_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("tables", "media", "plots", "curve", "run")  # each uses names of those before it


def write(
    path: Path,
    runs: Sequence[Path],
    *,
    defaults: Mapping[str, Any],
    unfinished: Sequence[str] = (),
) -> None:
    """Reads finished runs and writes a page about them, atomically.

    Args:
      path: of the page.
      runs: their directories.
      defaults: default config, dotted keys to values.
      unfinished: names of runs that are left out.

    Raises:
      UserError: a run's files are damaged.
    """
    most = max(20, _MOST_WORST // len(runs))
    text = render([read_run(run, most_clips=most) for run in runs], defaults, unfinished)
    files.write_text(path, text)


def is_report(path: Path) -> bool:
    """Whether a file is a page written by `write`."""
    with path.open("rb") as file:
        return _GENERATOR.encode() in file.read(2000)


def render(runs: Sequence[Run], defaults: Mapping[str, Any], unfinished: Sequence[str]) -> str:
    """The page's HTML."""
    names = run_names(runs)
    lines = curve.lines(runs)
    clips, notes = audio_clips.collect_clips(runs, lines)
    clips += [example for run in runs for example in read_examples(run.path)]
    grid, sounds, images, media_notes = media.grid(clips, CLIP_BUDGET, PICTURE_BUDGET)
    snippets, snippet_indices, snippet_notes = _snippets(runs)
    units = sorted({details.unit(run) for run in runs})
    line_numbers = _line_numbers(lines)
    data = {
        "lines": [_line_json(runs, names, line) for line in lines],
        "units": units,
        "runs": [
            details.details(run, names[number], defaults)
            | {"snippets": snippet_indices[number], "line": line_numbers.get(number, 0)}
            for number, run in enumerate(runs)
        ],
        "levels": pictures.LEVELS,
    }
    style, script = (_TEMPLATES / "report.css").read_text("utf-8"), _script()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        generator=Markup(_GENERATOR),
        title=_title(runs, names),
        headline=headline.headline(runs[0]) if len(runs) == 1 else "",
        runs=runs,
        names=names,
        unfinished=unfinished,
        comparable=curve.comparable(runs),
        corpora=sorted(set(curve.corpus_labels(runs))),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_json(data),
        pictures=_json(images),
        sounds=sounds,
        snippets=snippets,
        grid=grid,
        notes=[*notes, *media_notes, *snippet_notes],
        table=_table(runs, names, units),
        differing=_differing(runs, names),
    )


def _script() -> str:
    """The page's script: its files, in one scope."""
    parts = [(_TEMPLATES / f"{name}.js").read_text("utf-8") for name in _SCRIPTS]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def run_names(runs: Sequence[Run]) -> list[str]:
    """The name of each run on the page: that of its folder, or more of its path."""
    return folder_names([run.path for run in runs])


def _title(runs: Sequence[Run], names: Sequence[str]) -> str:
    return names[0] if len(runs) == 1 else f"{curve.common_folder(runs)}: {len(runs)} runs"


def _line_json(runs: Sequence[Run], names: Sequence[str], line: curve.Line) -> dict[str, Any]:
    return {
        "label": line.label,
        "kind": line.kind,
        "corpus": line.corpus,
        "points": [curve.point_json(runs, point, names.__getitem__) for point in line.points],
    }


def _line_numbers(lines: Sequence[curve.Line]) -> dict[int, int]:
    """The index of the first line with a run's model, by the index of the run."""
    numbers: dict[int, int] = {}
    for number, line in enumerate(lines):
        if line.kind == "model":
            for point in line.points:
                for run in point.runs:
                    numbers.setdefault(run, number)
    return numbers


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(data: Any) -> Markup:
    """JSON that is safe inside a script element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _snippets(runs: Sequence[Run]) -> tuple[dict[str, Any], list[list[int]], list[str]]:
    """The distinct snippets of all maps; the indices of those of each run's clips, -1 for none;
    notes."""
    indices: dict[bytes, int] = {}
    run_indices = []
    for run in runs:
        pieces = [] if run.extras is None else run.extras.snippets
        for piece in pieces[: max(0, _MOST_SNIPPETS - len(indices))]:
            indices.setdefault(piece, len(indices))
        run_indices.append([indices.get(piece, -1) for piece in pieces])
    files, budget = list(indices), SNIPPET_BUDGET * 3 // 4
    if sum(map(len, files)) <= budget:
        return {"type": sound.FORMATS["flac"], "files": media.base64_texts(files)}, run_indices, []
    # Snippets are only previews: decode no more than fits in the budget.
    decoded = []
    for file in files:
        try:
            decoded.append(sound.decode(file, 96_000))
        except ValueError:
            decoded.append((np.zeros(1, np.float32), 48_000))
    audio, rates = zip(*decoded, strict=True)
    files, kind, seconds = sound.encode_all(audio, rates, budget)
    cut = "" if seconds is None else f", shortened to {seconds:.1f} s"
    note = f"To keep this page small, the map's snippets are {kind.title()}{cut}."
    return {"type": sound.FORMATS[kind], "files": media.base64_texts(files)}, run_indices, [note]


@dataclasses.dataclass(frozen=True)
class _TableRow:
    """A row of the results table: the name of its run, its own name, and its values."""

    run: str
    name: str
    values: Mapping[str, Any]


def _table_rows(runs: Sequence[Run], names: Sequence[str]) -> list[_TableRow]:
    """Rows of all runs; that of the representation alone once for runs in which it is the same."""
    rows = _ceiling_rows(runs, names)
    for run, name in zip(runs, names, strict=True):
        for row in run.rows:
            if curve.kind_of(row["name"], run.name)[0] != "ceiling":
                first, comma, rest = row["name"].partition(", ")
                first = name if first == run.name and len(runs) == 1 else first
                rows.append(_TableRow(name, first + comma + rest, row))
    return rows


def _ceiling_rows(runs: Sequence[Run], names: Sequence[str]) -> list[_TableRow]:
    """The runs' rows without a model, equal ones as one that names up to three runs."""
    groups: list[tuple[Mapping[str, Any], list[str]]] = []
    for run, name in zip(runs, names, strict=True):
        for row in run.rows:
            if curve.kind_of(row["name"], run.name)[0] == "ceiling":
                same = [own for first, own in groups if _same(row, first)]
                if same:
                    same[0].append(name)
                else:
                    groups.append((row, [name]))
    rows = []
    for shown, members in groups:
        more = f" and {len(members) - 3} more" if len(members) > 3 else ""
        of = "all runs" if len(members) == len(names) else ", ".join(members[:3]) + more
        rows.append(_TableRow(of, shown["name"], shown))
    return rows


def _same(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return row["name"] == other["name"] and curve.equal(row, other)


def _table(runs: Sequence[Run], names: Sequence[str], units: Sequence[str]) -> dict[str, Any]:
    """The results table: headings, rows, and notes."""
    every = _table_rows(runs, names)
    columns = columns_of([row.values for row in every])
    unit = f" ({units[0]})" if len(units) == 1 and units[0] else ""
    heads = ["run"] if len(runs) > 1 else []
    heads += [
        "row",
        *(f"{above} {below.format(unit=unit)}".strip() for above, below, *_ in columns),
    ]
    rows: list[dict[str, Any]] = []
    for row in every:
        first = [row.run, row.name] if len(runs) > 1 else [row.name]
        rows.append({"words": first, "cells": [_cell(row.values, x) for x in columns]})
    values = [row.values for row in every]
    counts = [run.results["test_clips"] for run in runs if run.results.get("test_clips")]
    has_intervals = any(cell["interval"] for row in rows for cell in row["cells"])
    notes = notes_of(min(counts, default=None), "Small numbers: the" if has_intervals else "")
    notes = [headline.quantised_note(values), *notes]
    return {"heads": heads, "rows": rows, "words": len(heads) - len(columns), "notes": notes}


def _cell(row: Mapping[str, Any], column: Column) -> dict[str, Any]:
    """A number of the results table: its text, sort value, tooltip, and interval as text."""
    _, _, key, form = column
    ends = (row.get("interval_95") or {}).get(key)
    return {
        "text": form(row.get(key)),
        "value": "" if row.get(key) is None else row[key],
        "tip": headline.gain_title(row) if key == "gain_over_pca_db" else "",
        "interval": "" if ends is None else f"{form(ends[0])} to {form(ends[1])}",
    }


def _differing(runs: Sequence[Run], names: Sequence[str]) -> dict[str, Any] | None:
    """Config keys that differ between runs, and each run's values; None if there are none."""
    keys = list(dict.fromkeys(key for run in runs for key in run.config))
    differing = [key for key in keys if len({repr(run.config.get(key)) for run in runs}) > 1][:40]
    if not differing:
        return None
    rows = [
        [name, *(details.written(run.config.get(key, "unset")) for key in differing)]
        for run, name in zip(runs, names, strict=True)
    ]
    return {"heads": ["run", *differing], "rows": rows}
