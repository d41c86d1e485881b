"""Labels of clips, from a table beside the audio: ``labels.csv``, ``.tsv`` or ``.parquet``.

Nothing in a table vanishes without a word: `match` names each row that is of no file, and `load`
what it could not read as it is meant.
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
from aejax.errors import UserError, plain
from aejax.runtime import files

NAMES = ("labels.csv", "labels.tsv", "labels.parquet")
_SHOWN = 3  # rows that a message names
_COMPARED = 2000  # names of files at most that a misspelt one is compared with


@dataclasses.dataclass(frozen=True)
class Table:
    """The labels of each file.

    Attributes:
      names: of the labels.
      rows: the cells by the file's path below the corpus.
      numbers: of the rows in the table, the heading being 1; as many.
      title: of the table, for messages.
      warnings: what could not be read as it is meant.
    """

    names: tuple[str, ...] = ()
    rows: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    numbers: tuple[int, ...] = dataclasses.field(default=(), compare=False)
    title: str = dataclasses.field(default="labels", compare=False)
    warnings: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def columns(self, files: Sequence[str]) -> dict[str, Column]:
        """The labels of these files; a label that no file has is left out."""
        if not self.rows:
            return {}
        nothing = ("",) * len(self.names)
        rows = [self.rows.get(file, nothing) for file in files]
        cells = {name: [row[index] for row in rows] for index, name in enumerate(self.names)}
        return {name: Column.of(values) for name, values in cells.items() if any(values)}


def find(root: Path, given: str) -> Path | None:
    """The table to read: the one that is given, or one beside the audio, or none.

    Raises:
      UserError: the one that is given is not there.
    """
    if given:
        for path in (files.expand(given), root / given):
            if path.is_file():
                return path
        raise UserError(f"data.labels={given} does not exist, neither here nor below {root}")
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def load(path: Path | None) -> Table:
    """Reads a table whose column "path" has paths below the corpus; all others are labels.

    Text may be separated by commas, semicolons or tabs, in UTF-8 or UTF-16. Blanks around cells and
    rows without any cell are left out, as are columns without a heading.

    Raises:
      UserError: it cannot be read, has no such column, or says two things of one path.
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
        raise UserError(f"{title} have two columns of one name ({', '.join(named)})")
    order = [header.index("path"), *(index for index in used if header[index] != "path")]
    table: dict[str, tuple[str, ...]] = {}
    numbers: dict[str, int] = {}
    for number, row in filled[1:]:
        if len(row) < len(header) or any(map(str.strip, row[len(header) :])):
            raise UserError(f"{title}: row {number} has {len(row)} cells, not {len(header)}")
        file, *cells = (row[index] for index in order)
        if not file.strip():
            continue
        own = tuple(map(spelling.value, cells))
        if table.setdefault(file, own) != own:
            raise UserError(
                f"{title}: row {number} names {plain(file)} again, with other labels than row"
                f" {numbers[file]}"
            )
        numbers.setdefault(file, number)
    return Table(
        tuple(header[index] for index in order[1:]),
        table,
        tuple(numbers.values()),
        title,
        tuple(_doubts(title, filled, order)),
    )


def _doubts(
    title: str, rows: Sequence[tuple[int, Sequence[str]]], order: Sequence[int]
) -> Iterator[str]:
    """What of the cells is not read as it is meant."""
    odd = [
        f"row {number}, {plain(row[index])}"
        for number, row in rows
        for index in order[1:]
        if spelling.visible(row[index]) != row[index]
    ]
    broken = [f"row {number}" for number, row in rows for cell in row if len(cell.splitlines()) > 1]
    lost = [f"row {number}" for number, row in rows[1:] if not row[order[0]].strip()]
    if lost:
        yield f"{title} have no path in {_some(lost)}; what they say is of no file"
    if broken:
        yield (
            f"{title} have a cell of several lines in {_some(broken)}; if they are rows, a"
            " quotation mark before them is not closed"
        )
    if odd:
        yield f"{title} are not UTF-8 ({_some(odd)}); save them as UTF-8"
    if any(cell.strip() for _, row in rows for index, cell in enumerate(row) if index not in order):
        yield f"{title} have a column without a heading, which is left out; give it one"


def match(table: Table, files: Iterable[str], root: object, wanted: Callable[[str], bool]) -> Table:
    """The table with the names that its files have, and a warning that names rows without one.

    A path that is spelt otherwise (Unicode normalisation, slashes, blanks, from ``/`` on) is that
    of a file if there is only one that it can be.

    Args:
      table: of `load`.
      files: paths below the corpus.
      root: of the corpus.
      wanted: whether a path would be taken, were there such a file.

    Raises:
      UserError: two rows say different things of one file, or no row is of any file.
    """
    if not table.rows:
        return table
    present = dict.fromkeys(files)
    absolute = {os.path.abspath(str(root)), os.path.realpath(str(root))}
    roots = {spelling.canonical(folder).rstrip("/") + "/" for folder in absolute}
    alike: dict[str, list[str]] = {}
    rows: dict[str, tuple[str, ...]] = {}
    written: dict[str, str] = {}
    missing: list[str] = []
    count = 0
    for (path, cells), number in zip(table.rows.items(), _numbers(table), strict=True):
        name, candidates = path, [path]
        if path not in present:
            if not alike:
                for file in present:
                    alike.setdefault(spelling.canonical(file), []).append(file)
            name = _below(spelling.canonical(path), roots)
            candidates = alike.get(name, [])
        if len(candidates) == 1:
            (file,) = candidates
            count += 1
            if rows.setdefault(file, cells) != cells:
                both = f"{plain(written[file])} and {plain(path)}"
                raise UserError(
                    f"{table.title}: {both} are one file, {plain(file)}, with different labels"
                )
            written.setdefault(file, path)
        elif wanted(name):
            says = f"row {number}, {plain(path)}"
            if len(missing) < _SHOWN:
                says += _instead(name, candidates, alike)
            missing.append(says)
    if missing and not count:
        first = plain(next(iter(present), "nothing"))
        raise UserError(
            f"none of the {len(table.rows)} paths in {table.title} is that of an audio file below"
            f" {root}: {missing[0]}, where the first file is {first}"
        )
    warnings = list(table.warnings)
    if missing:
        warnings.append(
            f"{table.title}: {len(missing)} of {len(table.rows)} rows match no audio file below"
            f" {root}: {_some(missing)}"
        )
    return dataclasses.replace(table, rows=rows, numbers=(), warnings=tuple(warnings))


def _numbers(table: Table) -> Sequence[int]:
    return table.numbers or range(2, 2 + len(table.rows))


def _below(name: str, roots: Collection[str]) -> str:
    """A canonical path, from below the corpus on where it begins with the corpus's own."""
    return next((name[len(root) :] for root in roots if name.startswith(root)), name)


def _instead(name: str, candidates: Sequence[str], alike: Mapping[str, Sequence[str]]) -> str:
    """In parentheses, the file that may be meant; nothing if none is similar."""
    if candidates:
        return f" (one of {' and '.join(map(repr, candidates))}, which differ in spelling alone?)"
    folder = posixpath.dirname(name)
    near: list[str] = []
    for part in (str.casefold, posixpath.basename, lambda path: posixpath.splitext(path)[0]):
        near = near or [file for file in alike if part(file) == part(name)]
    if not near:
        some = [file for file in alike if posixpath.dirname(file) == folder] or list(alike)
        near = difflib.get_close_matches(name, some[:_COMPARED], 1)
    return f" ({plain(alike[near[0]][0])}?)" if near else ""


def _some(parts: Sequence[str]) -> str:
    more = f"; and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more


def _text(path: Path) -> list[list[str]]:
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16") if wide else data.decode("utf-8-sig", "surrogateescape")
    first, _, rest = text.partition("\n")
    if first.strip().strip('"').startswith("sep="):  # by which Excel is told the delimiter
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
            f"labels {path} need pyarrow: pip install 'aejax[parquet]', or give a .csv"
        ) from None
    table = pyarrow.parquet.read_table(path)
    columns = [[_cell(x) for x in column.to_pylist()] for column in table.columns]
    return [list(table.column_names), *(list(row) for row in zip(*columns, strict=True))]


def _cell(found: Any) -> str:
    """A value as a table of text would have it: nothing for None and NaN."""
    if isinstance(found, bytes):
        return found.decode("utf-8", "surrogateescape")
    return "" if found is None or found != found else str(found)


def save(path: Path, table: Table) -> None:
    """Writes a table as CSV, whole or not at all."""
    with (
        files.replacing(path) as beside,
        open(beside, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["path", *table.names])
        writer.writerows([name, *cells] for name, cells in table.rows.items())
