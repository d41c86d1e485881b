"""Labels of clips, from a table beside the audio: ``labels.csv``, ``.tsv`` or ``.parquet``.

Nothing is dropped silently: `match` warns of rows that match no file, and `load` of cells that it
may have misread.
"""

import codecs
import csv
import dataclasses
import difflib
import io
import os
import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aejax.data import names as spelling
from aejax.data.table import Column
from aejax.runtime import files, words
from aejax.runtime.errors import UserError, printable

NAMES = ("labels.csv", "labels.tsv", "labels.parquet")
_SHOWN = 3  # rows that a message names
_COMPARED = 2000  # file names to compare a misspelt one with, at most


@dataclasses.dataclass(frozen=True)
class Table:
    """The labels of each file.

    Attributes:
      names: names of the labels.
      rows: the cells by the file's path below the corpus.
      numbers: row numbers in the table, the heading being 1; one for each of ``rows``.
      title: name of the table, for messages.
      warnings: cells that may have been misread, as sentences.
    """

    names: tuple[str, ...] = ()
    rows: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    numbers: tuple[int, ...] = dataclasses.field(default=(), compare=False)
    title: str = dataclasses.field(default="labels", compare=False)
    warnings: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def columns(self, files: Sequence[str]) -> dict[str, Column]:
        """The labels of these files, as columns; a label that no file has is left out."""
        if not self.rows:
            return {}
        nothing = ("",) * len(self.names)
        rows = [self.rows.get(file, nothing) for file in files]
        cells = {name: [row[index] for row in rows] for index, name in enumerate(self.names)}
        return {name: Column.of(values) for name, values in cells.items() if any(values)}


def find(root: Path, name: str) -> Path | None:
    """The path of the table to read: ``name``, or else a table beside the audio, or None.

    Raises:
      UserError: no table has that name.
    """
    if name:
        for path in (files.expand(name), root / name):
            if path.is_file():
                return path
        raise UserError(f"data.labels={name} does not exist, neither here nor below {root}")
    return next((root / usual for usual in NAMES if (root / usual).is_file()), None)


def load(path: Path | None) -> Table:
    """Reads a table whose column "path" has paths below the corpus; all others are labels.

    Text may be separated by commas, semicolons or tabs, in UTF-8 or UTF-16. Blanks around cells,
    empty rows and columns without a heading are ignored.

    Raises:
      UserError: the table cannot be read, has no such column, or contradicts itself.
    """
    if path is None:
        return Table()
    title = f"labels {path}"
    try:
        rows = _parquet(path) if path.suffix.lower() == ".parquet" else _text(path)
    except (OSError, ValueError, NotImplementedError, csv.Error) as error:
        raise UserError(f"{title} cannot be read ({' '.join(str(error).split())})") from None
    filled = [(number, row) for number, row in enumerate(rows, start=1) if any(map(str.strip, row))]
    header = [spelling.value(cell) for cell in filled[0][1]] if filled else []
    used = [index for index, name in enumerate(header) if name]
    named = [header[index] for index in used]
    if "path" not in named:
        raise UserError(f"{title} have no column 'path' (they have {', '.join(named)})")
    if len(set(named)) < len(named):
        raise UserError(f"{title} have two columns of the same name ({', '.join(named)})")
    order = [header.index("path"), *(index for index in used if header[index] != "path")]
    table: dict[str, tuple[str, ...]] = {}
    numbers: dict[str, int] = {}
    for number, row in filled[1:]:
        if len(row) < len(header) or any(map(str.strip, row[len(header) :])):
            raise UserError(f"{title}: row {number} has {len(row)} cells, not {len(header)}")
        file, *cells = (row[index] for index in order)
        if not file.strip():
            continue
        values = tuple(map(spelling.value, cells))
        if table.setdefault(file, values) != values:
            raise UserError(
                f"{title}: row {number} names {printable(file)} again, with other labels than row"
                f" {numbers[file]}"
            )
        numbers.setdefault(file, number)
    return Table(
        tuple(header[index] for index in order[1:]),
        table,
        tuple(numbers.values()),
        title,
        tuple(_warnings(title, filled, order)),
    )


def _warnings(
    title: str, rows: Sequence[tuple[int, Sequence[str]]], order: Sequence[int]
) -> Iterator[str]:
    """Warnings about cells that may have been misread."""
    undecodable = [
        f"row {number}, {printable(row[index])}"
        for number, row in rows
        for index in order[1:]
        if spelling.visible(row[index]) != row[index]
    ]
    multiline = [
        f"row {number}" for number, row in rows for cell in row if len(cell.splitlines()) > 1
    ]
    pathless = [f"row {number}" for number, row in rows[1:] if not row[order[0]].strip()]
    if pathless:
        yield f"{title} have no path in {_join(pathless)}; these rows are ignored"
    if multiline:
        yield (
            f"{title} have a cell of several lines in {_join(multiline)}; if they are rows, a"
            " quotation mark before them is not closed"
        )
    if undecodable:
        yield f"{title} are not UTF-8 ({_join(undecodable)}); save them as UTF-8"
    if any(cell.strip() for _, row in rows for index, cell in enumerate(row) if index not in order):
        yield f"{title} have a column without a heading, which is left out; give it one"


def match(table: Table, files: Iterable[str], root: object, wanted: Callable[[str], bool]) -> Table:
    """The table with its paths replaced by those of files, and a warning about rows without a file.

    A path in another spelling (Unicode normalisation, slashes, blanks, absolute) matches a file if
    no other file matches it.

    Args:
      table: made by `load`.
      files: paths below the corpus.
      root: the corpus's folder.
      wanted: whether a file of that path would be used.

    Raises:
      UserError: rows of one file have different labels, or no row matches a file.
    """
    if not table.rows:
        return table
    present = dict.fromkeys(files)
    absolute = {os.path.abspath(str(root)), os.path.realpath(str(root))}
    roots = {spelling.canonical(folder).rstrip("/") + "/" for folder in absolute}
    by_spelling: dict[str, list[str]] = {}
    rows: dict[str, tuple[str, ...]] = {}
    row_paths: dict[str, str] = {}
    missing: list[str] = []
    count = 0
    for (path, cells), number in zip(table.rows.items(), _numbers(table), strict=True):
        name, candidates = path, [path]
        if path not in present:
            if not by_spelling:
                for file in present:
                    by_spelling.setdefault(spelling.canonical(file), []).append(file)
            name = _below(spelling.canonical(path), roots)
            candidates = by_spelling.get(name, [])
        if len(candidates) == 1:
            (file,) = candidates
            count += 1
            if rows.setdefault(file, cells) != cells:
                both = f"{printable(row_paths[file])} and {printable(path)}"
                raise UserError(
                    f"{table.title}: {both} are the same file, but have different labels"
                )
            row_paths.setdefault(file, path)
        elif wanted(name):
            description = f"row {number}, {printable(path)}"
            if len(missing) < _SHOWN:
                description += _suggestion(name, candidates, by_spelling)
            missing.append(description)
    if missing and not count:
        first = printable(next(iter(present), "nothing"))
        raise UserError(
            f"of {words.count(len(table.rows), 'path')} in {table.title}, none matches an"
            f" audio file below {root}: {missing[0]}; the first file is {first}"
        )
    warnings = list(table.warnings)
    if missing:
        warnings.append(
            f"{table.title}: {len(missing)} of {len(table.rows)} rows match no audio file below"
            f" {root}: {_join(missing)}"
        )
    return dataclasses.replace(table, rows=rows, numbers=(), warnings=tuple(warnings))


def _numbers(table: Table) -> Sequence[int]:
    return table.numbers or range(2, 2 + len(table.rows))


def _below(name: str, roots: Collection[str]) -> str:
    """A canonical path, relative to the corpus if it is absolute and inside it."""
    return next((name[len(root) :] for root in roots if name.startswith(root)), name)


def _suggestion(
    name: str, candidates: Sequence[str], by_spelling: Mapping[str, Sequence[str]]
) -> str:
    """The most similar file, in parentheses; empty if none is similar."""
    if candidates:
        return (
            f" (one of {' and '.join(map(repr, candidates))}, whose names differ only in spelling?)"
        )
    folder = posixpath.dirname(name)
    near: list[str] = []
    for part in (str.casefold, posixpath.basename, lambda path: posixpath.splitext(path)[0]):
        near = near or [file for file in by_spelling if part(file) == part(name)]
    if not near:
        nearby = [file for file in by_spelling if posixpath.dirname(file) == folder] or list(
            by_spelling
        )
        near = difflib.get_close_matches(name, nearby[:_COMPARED], 1)
    return f" ({printable(by_spelling[near[0]][0])}?)" if near else ""


def _join(parts: Sequence[str]) -> str:
    more = f"; and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more


def _text(path: Path) -> list[list[str]]:
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16") if wide else data.decode("utf-8-sig", "surrogateescape")
    first, _, rest = text.partition("\n")
    if first.strip().strip('"').startswith("sep="):  # Excel's hint of the delimiter
        text = rest
    delimiters = "\t,;" if path.suffix.lower() == ".tsv" else ",;\t"
    for delimiter in delimiters:
        rows = _cells(text, delimiter)
        header = next((row for row in rows if any(map(str.strip, row))), [])
        if "path" in map(spelling.value, header):
            return rows
    return _cells(text, delimiters[0])


def _cells(text: str, delimiter: str) -> list[list[str]]:
    lines = io.StringIO(text, newline="")
    return list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))


def _parquet(path: Path) -> list[list[str]]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"labels {path} need pyarrow: pip install 'aejax[parquet]', or use a .csv"
        ) from None
    table = pyarrow.parquet.read_table(path)
    columns = [[_cell(x) for x in column.to_pylist()] for column in table.columns]
    return [list(table.column_names), *(list(row) for row in zip(*columns, strict=True))]


def _cell(value: Any) -> str:
    """The text of a value; empty for None and NaN."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return "" if value is None or value != value else str(value)


def save(path: Path, table: Table) -> None:
    """Writes a table as CSV, atomically."""
    with (
        files.atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["path", *table.names])
        writer.writerows([name, *cells] for name, cells in table.rows.items())
