"""Write to people: results to standard output; progress, notes and errors to standard error. rich honours NO_COLOR."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["err", "out", "print_table", "table"]

_PIPE_WIDTH = 240
"""Characters in a line of a table that doesn't go to a terminal. rich would cut the line to 80."""

out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def table(title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """Make a plain table. A column of numbers is right-aligned, except for the first column."""
    result = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numeric = all(str(row[index])[:1] in "+-.0123456789–" for row in rows if row[index])
        last = index == len(columns) - 1
        result.add_column(name, justify="right" if numeric and index else "left", no_wrap=not last)
    for row in rows:
        result.add_row(*row)
    return result


def print_table(
    console: Console, title: str | None, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]
) -> None:
    """Print a table. If the terminal is too narrow, print it in parts below one another, each with the first column."""
    whole = table(title, columns, rows)
    unlimited = console.options.update(max_width=10_000)
    count = len(columns)
    while count > 2 and whole.__rich_measure__(console, unlimited).maximum > console.width:
        count -= 1
        whole = table(title, columns[:count], [row[:count] for row in rows])
    console.print(whole, markup=False)
    if count < len(columns):
        console.print()
        print_table(console, None, [columns[0], *columns[count:]], [[row[0], *row[count:]] for row in rows])
