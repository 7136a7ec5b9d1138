"""Read the labels of a table: list them, and find each one's position among the model's labels."""

from collections.abc import Iterable, Iterator

from edgeprune.base.errors import DataError
from edgeprune.data.table import Label, Table

__all__ = ["distinct_labels", "label_number", "labelled_rows"]


def labelled_rows(table: Table, where: str) -> Iterator[tuple[str, Label]]:
    """Yield each row's place for a message, and its label.

    Args:
        table: The table of a task that has labels.
        where: The name of the table in a message.
    """
    assert table.labels is not None  # noqa: S101 (a labelled task's columns name a label, so its table has one)
    for row, label in zip(table.numbers, table.labels, strict=True):
        yield f"{where} row {row}", label


def label_number(label: object, labels: tuple[str, ...], where: str) -> int:
    """Find the position of a label among the model's labels.

    Raises:
        DataError: The model has no such label.
    """
    if str(label) not in labels:
        known = ", ".join(labels[:20])
        raise DataError(f"{where}: the label {str(label)!r} is not one the model has ({known})")
    return labels.index(str(label))


def distinct_labels(labels: Iterable[object]) -> tuple[str, ...]:
    """List the distinct labels, in numerical order if all are whole numbers, else in alphabetical order.

    Raises:
        DataError: There are fewer than two labels.
    """
    names = {str(label) for label in labels}
    if len(names) < 2:
        raise DataError(
            f"the training rows have one label only ({', '.join(names) or 'none'}); a classifier needs two or more"
        )
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if all(map(str.isdigit, names)) else None))
