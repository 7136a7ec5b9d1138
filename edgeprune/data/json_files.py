"""Read rows from JSON Lines, from a JSON list of objects, or from SQuAD's own nested file.

Python's parser reads them: it keeps texts, numbers and lists as they are written, whatever type the row before has, and it
refuses what is nested too deeply, where native parsers end the process.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeprune.base.errors import DataError
from edgeprune.base.wording import listed
from edgeprune.data.records import Records
from edgeprune.data.squad import is_squad, squad_rows
from edgeprune.data.text_files import opened_text

__all__ = ["read_json"]

Row = dict[str, Any]


def read_json(path: Path) -> Records:
    """Read a file of rows.

    Args:
        path: `.jsonl`: an object a line. Any other suffix: a list of objects, SQuAD's form, or an object a line too.

    Raises:
        DataError: With the line, where there is one.
    """
    if path.suffix.lower() != ".jsonl":
        with opened_text(path) as file:
            whole = _whole(file.read(), path)
        if whole is not None:
            return _records(whole)
    with opened_text(path) as file:
        lines = ((f"{path} line {number}", line) for number, line in enumerate(file, start=1))
        return _records([_row(_parsed(line, where), where) for where, line in lines if line.strip()])


def _whole(text: str, path: Path) -> list[Row] | None:
    """Read a text that is one JSON value; None: it is several, one after the other."""
    if not text.strip():
        return []
    try:
        found = _parsed(text, str(path))
    except _SeveralValuesError:
        return None
    if isinstance(found, list):
        return [_row(row, f"{path} row {number}") for number, row in enumerate(found, start=1)]
    if is_squad(found):
        return squad_rows(found, str(path))
    if not isinstance(found, dict):
        raise DataError(f"{path} should hold a list of objects, one a row, got {_kind(found)}")
    if any(isinstance(value, list | dict) for value in found.values()):
        raise DataError(
            f"{path} holds one object with the keys {listed(list(found))}, and lists inside of it; give a list of objects, "
            f"one a row with a value a column, or a .jsonl file with one a line"
        )
    return [found]


class _SeveralValuesError(DataError):
    """More follows after the first value."""


def _parsed(text: str, where: str) -> Any:
    try:
        found = json.loads(text)
        if "\\ud" in text.lower():  # half of a character that takes two, which no UTF-8 has
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError as error:
        raise DataError(f"{where} is nested too deeply; give rows of texts, numbers and lists of these") from error
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where} holds half a character (\\u{ord(error.object[error.start]):04x} without its other half); a text was "
            f"cut in the middle of an emoji or the like: correct it"
        ) from error
    except json.JSONDecodeError as error:
        kind = _SeveralValuesError if error.msg.startswith("Extra data") else DataError
        raise kind(f"{where} is not valid JSON: {error}") from error
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"{where} is not valid JSON: {error}") from error
    return found


def _row(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where} should be an object with a value a column, got {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _records(rows: list[Row]) -> Records:
    return Records(tuple(_names(rows)), len(rows), lambda column: [row.get(column) for row in rows])


def _names(rows: list[Row]) -> Iterator[str]:
    """Give the columns in the order in which they come."""
    yield from {name: None for row in rows for name in row}
