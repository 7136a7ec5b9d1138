"""Read the labels of a table: list them, and find each one's position among the model's labels."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from edgeprune.base.errors import DataError, ModelError
from edgeprune.data.table import Label, Table

__all__ = ["distinct_labels", "label_number", "labelled_rows", "require_label_names"]


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


def require_label_names(config: Mapping[str, Any], where: object) -> None:
    """Refuse a config.json whose labels don't name each output of the head once.

    Args:
        config: Its content.
        where: What a message calls it.

    Raises:
        ModelError: An output has no name, two have one name, or id2label and label2id disagree.
    """
    named: Mapping[str, object] = config.get("id2label") or {}
    names, numbers = {int(key): str(name) for key, name in named.items()}, config.get("label2id")
    lacking = next((number for number in range(len(named)) if number not in names), None)
    if lacking is not None:
        raise ModelError(
            f"{where}: id2label has no name for output {lacking}; number its {len(named)} labels from 0 to {len(named) - 1}"
        )
    twin, times = Counter(names.values()).most_common(1)[0] if names else ("", 1)
    if times > 1:
        raise ModelError(
            f"{where}: id2label gives {times} outputs the name {twin[:40]!r}, so a label in the data could mean each; give "
            f"every output a name of its own, in the data too"
        )
    if isinstance(numbers, Mapping) and set(numbers) == set(names.values()):
        wrong = next((number for number, name in names.items() if numbers[name] != number), None)
        if wrong is not None:
            raise ModelError(
                f"{where}: {names[wrong][:40]!r} is output {wrong} in id2label, but {str(numbers[names[wrong]])[:40]} in "
                f"label2id; make them agree"
            )
