"""The report: one HTML file of one run or of many, with everything in it."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from aejax.reporting import curve, details, listen, pictures, sound
from aejax.reporting.examples import read_examples
from aejax.reporting.listen import HeardClip
from aejax.reporting.run_files import Run, folder_names, read_run
from aejax.reporting.table import COLUMNS
from aejax.runtime import files

# Of the page; base64 makes 4 bytes of 3.
CLIP_BUDGET, SNIPPET_BUDGET, PICTURE_BUDGET = 24 << 20, 8 << 20, 5 << 20
_MOST_SNIPPETS = 2000
_MOST_WORST = 400  # clips in all tables of them together

_GENERATOR = '<meta name="generator" content="aejax">'
_TEMPLATES = Path(__file__).parent / "templates"


def write(
    path: Path,
    runs: Sequence[Path],
    *,
    defaults: Mapping[str, Any],
    unfinished: Sequence[str] = (),
) -> None:
    """Reads finished runs and writes a page about them, whole or not at all.

    Args:
      path: of the page.
      runs: directories.
      defaults: of the config, dotted keys to values.
      unfinished: names of runs that are left out.

    Raises:
      UserError: a run's files are damaged.
    """
    most = max(20, _MOST_WORST // len(runs))
    text = render([read_run(run, most_clips=most) for run in runs], defaults, unfinished)
    files.write_text(path, text)


def is_report(path: Path) -> bool:
    """Whether a file is a page that `write` wrote."""
    with path.open("rb") as file:
        return _GENERATOR.encode() in file.read(2000)


def render(runs: Sequence[Run], defaults: Mapping[str, Any], unfinished: Sequence[str]) -> str:
    """The page's HTML."""
    names = run_names(runs)
    lines = curve.lines(runs)
    clips, notes = listen.heard_clips(runs, lines)
    clips += [example for run in runs for example in read_examples(run.path)]
    grid, sounds, shown, cut = _media(clips)
    snippets, own, snippet_note = _snippets(runs)
    found = [details.details(run, name, defaults) for run, name in zip(runs, names, strict=True)]
    units = sorted({details.unit(run) for run in runs})
    order = {line.label: number for number, line in enumerate(lines)}
    data = {
        "lines": [
            {
                "label": line.label,
                "kind": line.kind,
                "corpus": line.corpus,
                "points": [
                    curve.point_json(runs, point, names.__getitem__) for point in line.points
                ],
            }
            for line in lines
        ],
        "units": units,
        "runs": [
            each | {"snippets": places, "line": order[_line_of(lines, index)]}
            for index, (each, places) in enumerate(zip(found, own, strict=True))
        ],
        "levels": pictures.LEVELS,
    }
    style, script = ((_TEMPLATES / f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        generator=Markup(_GENERATOR),
        title=_title(runs),
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
        pictures=_json(shown),
        sounds=sounds,
        snippets=snippets,
        grid=grid,
        notes=[*notes, *cut, *snippet_note],
        table=_table(runs, names, units),
        differing=_differing(runs, names),
    )


def run_names(runs: Sequence[Run]) -> list[str]:
    """What the page calls each run: its directory's name, or more of its path; its experiment's
    name if it is alone."""
    if len(runs) == 1:
        return [runs[0].name]
    return folder_names([run.path for run in runs])


def _title(runs: Sequence[Run]) -> str:
    name = curve.common_name([run.name for run in runs])
    return name if len(runs) == 1 else f"{name}: {len(runs)} runs"


def _line_of(lines: Sequence[curve.Line], run: int) -> str:
    """The line that a run's model is on."""
    for line in lines:
        if line.kind == "model" and any(run in point.runs for point in line.points):
            return line.label
    return lines[0].label


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(data: Any) -> Markup:
    """JSON that can stand inside of a script element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _base64(files: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(file).decode("ascii") for file in files]


def _media(
    clips: Sequence[HeardClip],
) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]], list[str]]:
    """The grid, the sounds, the pictures, and what was shortened, in words."""
    versions = [(clip, version) for clip in clips for version in clip.versions]
    files, kind, seconds = sound.encode_all(
        [version.audio for _, version in versions],
        [clip.sample_rate for clip, _ in versions],
        CLIP_BUDGET * 3 // 4,
    )
    shown = pictures.packed([version.picture for _, version in versions], PICTURE_BUDGET)
    grid: list[dict[str, Any]] = []
    place = 0
    for clip in clips:
        cards = [
            {"label": version.label, "media": place + number, "of": place}
            for number, version in enumerate(clip.versions)
        ]
        place += len(cards)
        labels = "; ".join(f"{key}: {value}" for key, value in clip.labels.items())
        grid.append({"clip": clip, "labels": labels, "cards": cards})
    notes = []
    if kind == "opus":
        notes.append("To keep this page small, its clips are Opus, not FLAC.")
    if seconds is not None:
        notes.append(f"To keep this page small, its clips were cut to {seconds:.1f} s.")
    return grid, {"type": sound.FORMATS[kind], "files": _base64(files)}, shown, notes


def _snippets(runs: Sequence[Run]) -> tuple[dict[str, Any], list[list[int]], list[str]]:
    """The snippets of all maps, each once; which of them each run's clips have, -1 for none;
    notes."""
    places: dict[bytes, int] = {}
    own = []
    for run in runs:
        pieces = [] if run.extras is None else run.extras.snippets
        for piece in pieces[: max(0, _MOST_SNIPPETS - len(places))]:
            places.setdefault(piece, len(places))
        own.append([places.get(piece, -1) for piece in pieces])
    files, budget = list(places), SNIPPET_BUDGET * 3 // 4
    if sum(map(len, files)) <= budget:
        return {"type": sound.FORMATS["flac"], "files": _base64(files)}, own, []
    # What the map plays is a hint; decoding stops where there is no room for more anyway.
    decoded = []
    for file in files:
        try:
            decoded.append(sound.decode(file, 96_000))
        except ValueError:
            decoded.append((np.zeros(1, np.float32), 48_000))
    audio, rates = zip(*decoded, strict=True)
    files, kind, seconds = sound.encode_all(audio, rates, budget)
    cut = "" if seconds is None else f", and were cut to {seconds:.1f} s"
    note = f"To keep this page small, the map's snippets are {kind.title()}{cut}."
    return {"type": sound.FORMATS[kind], "files": _base64(files)}, own, [note]


def _table(runs: Sequence[Run], names: Sequence[str], units: Sequence[str]) -> dict[str, Any]:
    """The results table: heads, and rows of (text, value to sort by)."""
    every = [(name, row) for run, name in zip(runs, names, strict=True) for row in run.rows]
    columns = [x for x in COLUMNS if any(row.get(x[2]) is not None for _, row in every)]
    unit = f" ({units[0]})" if len(units) == 1 and units[0] else ""
    heads = ["run"] if len(runs) > 1 else []
    heads += [
        "row",
        *(f"{above} {below.format(unit=unit)}".strip() for above, below, *_ in columns),
    ]
    rows = []
    for name, row in every:
        first = [(name, name)] if len(runs) > 1 else []
        cells = [
            (form(row.get(key)), "" if row.get(key) is None else row[key])
            for _, _, key, form in columns
        ]
        rows.append([*first, (row["name"], row["name"]), *cells])
    return {"heads": heads, "rows": rows, "words": len(heads) - len(columns)}


def _differing(runs: Sequence[Run], names: Sequence[str]) -> dict[str, Any] | None:
    """Keys of the config that differ between runs, and their values in each; None where there
    are none."""
    keys = list(dict.fromkeys(key for run in runs for key in run.config))
    differing = [key for key in keys if len({repr(run.config.get(key)) for run in runs}) > 1][:40]
    if not differing:
        return None
    rows = [
        [name, *(details.written(run.config.get(key, "unset")) for key in differing)]
        for run, name in zip(runs, names, strict=True)
    ]
    return {"heads": ["run", *differing], "rows": rows}
