"""Read the labels of a table: which there are, and which of the model's each one is.

A label is what the user wrote: 007 is 007, and 1 is no 1.0. Where a model came with labels of its own, a whole number that is
none of them is the position of one, unless their names hold numbers that say otherwise ("1 star" is at position 0).
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeprune.base.errors import DataError, ModelError
from edgeprune.base.wording import listed, quoted
from edgeprune.data.lists import as_list
from edgeprune.data.table import Label, Table
from edgeprune.tasks.spec import LabelForm, TaskSpec

__all__ = [
    "LabelNumbers",
    "distinct_labels",
    "find_positions",
    "is_multi_hot",
    "label_name",
    "labelled_rows",
    "labels_by_row",
    "labels_of",
    "number_of",
    "require_label_names",
]

_WHOLE = re.compile(r"(0|[1-9]\d{0,8})(\.0+)?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def labelled_rows(table: Table, where: str) -> Iterator[tuple[str, Label]]:
    """Yield each row's place for a message, and its label.

    Args:
        table: Of a task that has labels.
        where: What a message calls the table.
    """
    assert table.labels is not None  # noqa: S101 (a labelled task's columns name a label, so its table has one)
    for row, label in zip(table.numbers, table.labels, strict=True):
        yield f"{where} row {row}", label


def labels_of(label: Label) -> Sequence[object]:
    """Give a row's labels: those of its list, or the one that it has."""
    return label if isinstance(label, list) else [label]


def label_name(label: object, where: str) -> str:
    """Name a label as the user wrote it.

    Raises:
        DataError: It is neither a text nor a number, or a list that is written as a text.
    """
    if not isinstance(label, str | int | float):
        raise DataError(f"{where}: a label should be a text or a number, got {quoted(label)}")
    if isinstance(label, str) and as_list(label) is not None:
        raise DataError(
            f"{where}: the label {quoted(label)} is a list written as a text, and other rows have none; write every row's "
            f"labels as a list, or one label a row"
        )
    return str(label)


class LabelNumbers:
    """Find the positions of labels among the model's.

    Args:
        labels: The model's, in the order of its outputs.
        form: Of the data's labels; numbers are positions only where it says so.
    """

    def __init__(self, labels: tuple[str, ...], form: LabelForm = "name") -> None:
        self._labels = labels
        self._form = form
        self._numbers = {label: number for number, label in enumerate(labels)}

    def __call__(self, label: object, where: str) -> int:
        """Find a label's position.

        Args:
            label: As the user wrote it.
            where: What a message calls its row.

        Raises:
            DataError: The model has no such label.
        """
        name = label_name(label, where)
        number = self._numbers.get(name, _whole(label) if self._form == "position" else None)
        if number is None or number >= len(self._labels):
            form = f", or as a position from 0 to {len(self._labels) - 1}" if self._form == "position" else ""
            raise DataError(
                f"{where}: the label {quoted(name)} is not one the model has ({listed(self._labels)}); write it as the model "
                f"does{form}, or leave the row out"
            )
        return number


def find_positions(found: Sequence[Label], labels: tuple[str, ...]) -> str | None:
    """Say which numbers of the data are positions of a model's own labels; None: none are.

    Args:
        found: The labels of the rows to learn from.
        labels: The model's.
    """
    inside = [(number, float(text)) for number, label in enumerate(labels) for text in _NUMBER.findall(label)]
    if any(number != value for number, value in inside):
        return None
    positions: dict[str, int] = {}
    for label in found:
        for one in labels_of(label):
            number = _whole(one)
            if number is not None and number < len(labels) and str(one) not in labels:
                positions[str(one)] = number
    shown = [f"{name} is {labels[number]}" for name, number in sorted(positions.items(), key=lambda entry: entry[1])]
    return f"the data's labels are positions of the model's: {listed(shown)}" if positions else None


def distinct_labels(table: Table, where: str) -> tuple[str, ...]:
    """Name the distinct labels; whole numbers in their order, anything else alphabetically.

    Args:
        table: The rows to learn from.
        where: What a message calls the table.

    Raises:
        DataError: There is one only, or a row has what can't be a label.
    """
    names = set()
    for place, label in labelled_rows(table, where):
        for one in labels_of(label):
            if isinstance(label, list) and isinstance(one, float) and not one.is_integer():
                raise DataError(
                    f"{place}: the labels {quoted(label)} are fractions; list the names of the labels that the row has"
                )
            names.add(label_name(one, place))
    if len(names) < 2:
        raise DataError(
            f"the training rows have one label only ({listed(sorted(names)) or 'none'}); a classifier needs two or more"
        )
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if all(map(_is_digits, names)) else None))


def is_multi_hot(labels: Sequence[Label]) -> bool:
    """Say whether every row has a vector of 0 and 1, a place for each label, rather than a list of labels.

    A list of one whole number is the number of a label.
    """
    lists = [label for label in labels if isinstance(label, list)]
    if not lists or len(lists) < len(labels) or len({len(label) for label in lists}) > 1:
        return False
    values: Counter[type] = Counter()
    for label in lists:
        for one in label:
            if not isinstance(one, int | float) or one not in (0, 1):
                return False
            values[type(one)] += 1
    return len(lists[0]) > 1 or values[float] > 0


def number_of(label: object) -> float | None:
    """Read a finite number, be it written as 1.5 or "1.5"; None: it is something else."""
    try:
        number = float(label) if isinstance(label, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def labels_by_row(table: Table, spec: TaskSpec) -> list[frozenset[str]]:
    """Name the labels that each row has; none of a task without labels, or of a regression."""
    if not spec.labels or spec.problem_type == "regression" or table.labels is None:
        return [frozenset()] * len(table.contents)
    if spec.label_form == "vector":
        return [
            frozenset(name for name, there in zip(spec.labels, labels_of(label), strict=False) if there)
            for label in table.labels
        ]
    return [frozenset(map(str, labels_of(label))) for label in table.labels]


def _whole(label: object) -> int | None:
    """Read a whole number that isn't negative, be it written as 1, 1.0, "1" or true; None: it is something else."""
    if isinstance(label, bool):
        return int(label)
    match = _WHOLE.fullmatch(str(label)) if isinstance(label, str | int | float) else None
    return int(match.group(1)) if match else None


def _is_digits(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 1000


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
