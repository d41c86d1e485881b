"""Labels of clips, from a table beside the audio: ``labels.csv``, ``.tsv`` or ``.parquet``."""

import csv
import dataclasses
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aejax.data.table import Column
from aejax.errors import UserError
from aejax.runtime import files

NAMES = ("labels.csv", "labels.tsv", "labels.parquet")


@dataclasses.dataclass(frozen=True)
class Table:
    """What is said of each file.

    Attributes:
      names: of the labels.
      rows: the cells by the file's path below the corpus.
    """

    names: tuple[str, ...] = ()
    rows: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def columns(self, files: Sequence[str]) -> dict[str, Column]:
        """The labels of these files; a label that no file has is left out."""
        if not self.rows:
            return {}
        nothing = ("",) * len(self.names)
        rows = [self.rows.get(file, nothing) for file in files]
        cells = {name: [row[place] for row in rows] for place, name in enumerate(self.names)}
        return {name: Column.of(values) for name, values in cells.items() if any(values)}


def find(root: Path, given: str) -> Path | None:
    """The table to read: the one that is given, or one beside the audio, or none.

    Raises:
      UserError: the one that is given is not there.
    """
    if given:
        for path in (Path(given).expanduser(), root / given):
            if path.is_file():
                return path
        raise UserError(f"data.labels={given} does not exist, neither here nor below {root}")
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def load(path: Path | None) -> Table:
    """Reads a table whose column "path" has paths below the corpus; all others are labels.

    Raises:
      UserError: it cannot be read, has no such column, or names a file twice.
    """
    if path is None:
        return Table()
    try:
        header, rows = _parquet(path) if path.suffix == ".parquet" else _text(path)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"labels {path} cannot be read ({' '.join(str(error).split())})") from None
    if "path" not in header:
        raise UserError(f"labels {path} have no column 'path' (they have {', '.join(header)})")
    if len(set(header)) < len(header):
        raise UserError(f"labels {path} have two columns of one name ({', '.join(header)})")
    place = header.index("path")
    table: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(f"labels {path}: row {number} has {len(row)} cells, not {len(header)}")
        file = posixpath.normpath(row[place])
        if file in table:
            raise UserError(f"labels {path}: row {number} names {file} again")
        table[file] = (*row[:place], *row[place + 1 :])
    return Table((*header[:place], *header[place + 1 :]), table)


def _text(path: Path) -> tuple[list[str], list[list[str]]]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    return (rows[0], rows[1:]) if rows else ([], [])


def _parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"labels {path} need pyarrow: pip install 'aejax[parquet]', or give a .csv"
        ) from None
    table = pyarrow.parquet.read_table(path)
    columns = [["" if x is None else str(x) for x in c.to_pylist()] for c in table.columns]
    return list(table.column_names), [list(row) for row in zip(*columns, strict=True)]


def save(path: Path, table: Table) -> None:
    """Writes a table as CSV, whole or not at all."""
    how: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with files.replacing(path) as beside, beside.open("w", **how) as file:
        writer = csv.writer(file)
        writer.writerow(["path", *table.names])
        writer.writerows([name, *cells] for name, cells in table.rows.items())
