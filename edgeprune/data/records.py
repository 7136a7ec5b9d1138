"""Hold rows as they were read, before a task says what they are: columns of values, as the user wrote them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprune.base.errors import DataError
from edgeprune.base.wording import quoted

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Records", "records_of"]


@dataclass(frozen=True)
class Records:
    """Hold the rows of one file or of one split of a dataset."""

    columns: tuple[str, ...]
    count: int
    """How many rows there are."""
    read: Callable[[str], list[Any]]
    """Gives the values of a column, one a row; None where a row has none."""
    notes: tuple[str, ...] = ()
    """Sentences on what was assumed."""


def records_of(dataset: "Dataset", name: str) -> Records:
    """Make records of a dataset: numbers of classes become the classes' names, images stay encoded.

    Args:
        dataset: What `datasets` made.
        name: What a message calls it.
    """
    return Records(tuple(dataset.column_names), len(dataset), lambda column: _values(dataset, column, name))


def _values(dataset: "Dataset", column: str, name: str) -> list[Any]:
    from datasets import Image

    feature = dataset.features[column]
    if isinstance(feature, Image):
        dataset = dataset.cast_column(column, Image(decode=False))
    try:
        values: list[Any] = dataset[column][:]
    except UnicodeDecodeError as error:  # pyarrow reads bytes, and decodes them only now
        row = _undecodable(dataset, column)
        raise DataError(f"{name} row {row}: the column {column!r} holds a byte that is not UTF-8 ({error})") from error
    single = getattr(feature, "names", None)
    names = single or getattr(getattr(feature, "feature", None), "names", None)  # the second: a list of classes a row
    if names is None:
        return values
    for row, value in enumerate(values, start=1):
        _check_classes(value, names, f"{name} row {row}")
    if single:
        return [None if value is None else names[value] for value in values]
    return [value if value is None else [None if one is None else names[one] for one in value] for value in values]


def _check_classes(value: Any, names: Sequence[str], where: str) -> None:
    """Raises DataError for a number that names no class."""
    numbers = [one for one in (value if isinstance(value, list) else [value]) if one is not None]
    if min(numbers, default=0) < 0:
        raise DataError(
            f"{where}: the label is {quoted(value)}; data sets publish numbers below 0 where they keep the labels secret; "
            f"give a split with labels"
        )
    if max(numbers, default=0) >= len(names):
        raise DataError(
            f"{where}: the label is {quoted(value)}, but the file names {len(names)} classes, from 0 to {len(names) - 1}; "
            f"correct the row, or name the class"
        )


def _undecodable(dataset: "Dataset", column: str) -> int:
    """Find the first row, from 1, whose value can't be decoded."""
    row = 0
    for row, value in enumerate(dataset.data.column(column), start=1):  # noqa: B007 (the number is what is wanted)
        try:
            value.as_py()
        except UnicodeDecodeError:
            break
    return row
