"""Open files of text: UTF-8, or what the mark at their beginning says; a line that can't be decoded is named."""

import codecs
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from edgeprune.base.errors import DataError

__all__ = ["opened_text"]

_MARKS = (  # UTF-32's first: it begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextlib.contextmanager
def opened_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """Open a file of text for reading.

    Args:
        path: The file.
        newline: As in `open`.

    Raises:
        DataError: It can't be read, or not decoded, while the file is open too.
    """
    try:
        encoding = _encoding(path)
        with path.open(encoding=encoding, newline=newline) as file:
            yield file
    except UnicodeDecodeError as error:
        where = _undecodable_line(path) if encoding == "utf-8" else ""
        raise DataError(
            f"{path}{where} is not {encoding.removesuffix('-sig').upper()} ({error.reason}); save the file as UTF-8"
        ) from error
    except UnicodeError as error:  # UTF-16 that ends in the middle of a character
        raise DataError(f"{path} is not {encoding.upper()} ({error}); save the file as UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from error


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    if b"\0" in start:
        raise DataError(f"{path} begins with a zero byte, as UTF-16 without a mark does; save the file as UTF-8")
    return "utf-8"


def _undecodable_line(path: Path) -> str:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f" line {number}"
    return ""
