"""Read rows from CSV and TSV files. Every cell is a text: 007 stays 007, until a task asks for a number.

The separator is the comma in a .csv and the tab in a .tsv; where the first line has none of these, it is the semicolon, the
tab, the comma or | that it has. A quotation mark that swallows rows is an error in a CSV. In a TSV, whose quotation marks are
most often signs like any other, the cells are then read without them.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path
from typing import Literal

from edgeprune.base.errors import DataError
from edgeprune.base.wording import quoted
from edgeprune.data.records import Records
from edgeprune.data.text_files import opened_text

__all__ = ["read_delimited"]

_SEPARATORS = {".csv": ",;\t|", ".tsv": "\t,;|"}
"""By suffix, in the order in which they are tried."""


class _QuoteError(DataError):
    """A quotation mark doesn't end where a cell does."""


def read_delimited(path: Path) -> Records:
    """Read a file whose first line names the columns.

    Raises:
        DataError: With the line: more or fewer cells than columns, or a quotation mark that swallows rows.
    """
    suffix = path.suffix.lower()
    with opened_text(path) as file:
        first = file.readline()
    separator = next((one for one in _SEPARATORS[suffix] if one in first), _SEPARATORS[suffix][0])
    try:
        return _records(path, separator, quoting=csv.QUOTE_MINIMAL)
    except _QuoteError as error:
        if suffix != ".tsv" or '"' in first:
            raise
        note = f"{error}; so every quotation mark of the file is read as a sign of its text"
        return _records(path, separator, quoting=csv.QUOTE_NONE, notes=(note,))


def _records(path: Path, separator: str, *, quoting: Literal[0, 3], notes: tuple[str, ...] = ()) -> Records:
    csv.field_size_limit(sys.maxsize)  # the process's own; 131,072 characters are not many for a document
    rows: list[list[str]] = []
    spans: list[tuple[int, int]] = []  # of each row, its first and its last line
    start = 1
    with opened_text(path, newline="") as file:
        reader = csv.reader(file, delimiter=separator, quoting=quoting, strict=True)
        try:
            for cells in reader:
                if cells:
                    rows.append(cells)
                    spans.append((start, reader.line_num))
                start = reader.line_num + 1
        except csv.Error as error:
            raise _QuoteError(_swallowing(path, start)) from error
    if not rows:
        return Records((), 0, lambda _column: [])
    columns, *rows = rows
    for cells, (line, _) in zip(rows, spans[1:], strict=True):
        if len(cells) != len(columns):
            raise DataError(
                f"{path} line {line} has {len(cells)} cells, but the first line names {len(columns)} columns; put a cell "
                f"that holds {quoted(separator)} in quotation marks"
            )
    _check_swallowed(path, rows, spans[1:], separator)
    position = {column: number for number, column in enumerate(columns)}
    return Records(tuple(columns), len(rows), lambda column: [cells[position[column]] for cells in rows], notes=notes)


def _swallowing(path: Path, line: int) -> str:
    return (
        f"{path} line {line}: a cell begins with a quotation mark and does not end with one; write a mark inside a cell in "
        f"quotation marks twice"
    )


def _check_swallowed(path: Path, rows: list[list[str]], spans: list[tuple[int, int]], separator: str) -> None:
    """Refuse a cell of several lines that holds a whole row, of which one cell is also a cell of another row's.

    Raises:
        _QuoteError: With the line on which the cell's row begins.
    """
    long = [number for number, (first, last) in enumerate(spans) if last > first]
    if not long:
        return
    known: dict[int, set[str]] = defaultdict(set)
    for cells, (first, last) in zip(rows, spans, strict=True):
        if first == last:
            for position, cell in enumerate(cells):
                known[position].add(cell)
    for number in long:
        for cell in rows[number]:
            for line in cell.split("\n")[:-1]:
                inner = line.rstrip("\r").split(separator)
                if len(inner) == len(rows[number]) > 1 and any(
                    one and one in known[at] for at, one in enumerate(inner)
                ):
                    raise _QuoteError(_swallowing(path, spans[number][0]))
