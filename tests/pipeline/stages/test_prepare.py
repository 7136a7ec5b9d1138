from collections import Counter
from typing import Any

import numpy as np
import pytest

from edgeprune.base.errors import DataError
from edgeprune.data.table import Table
from edgeprune.pipeline.stages.prepare import _split
from edgeprune.tasks.spec import LabelForm, ProblemType, TaskSpec
from tests.support.tasks import MULTI, REGRESSION, SINGLE


def spec(labels: tuple[str, ...] = (), kind: ProblemType | None = None, form: LabelForm = "name") -> TaskSpec:
    return TaskSpec(task="text-classification", problem_type=kind, labels=labels, label_form=form, inputs=())


def table(labels: list[Any] | None, rows: int = 0) -> Table:
    return Table([f"text {row}" for row in range(rows if labels is None else len(labels))], labels)


def rows_of(labels: list[Any] | None, found: TaskSpec, seed: int = 0, rows: int = 0) -> dict[str, list[int]]:
    return {name: taken for name, (_, taken) in _split({"train": table(labels, rows)}, found, seed).items()}


@pytest.mark.parametrize("seed", range(5))
def test_every_label_is_as_frequent_in_every_split_and_stays_in_train(seed: int):
    labels = ["a"] * 120 + ["b"] * 75 + ["rare"] * 4 + ["once"]
    found = rows_of(labels, spec(("a", "b", "once", "rare"), SINGLE), seed)
    assert sorted(row for rows in found.values() for row in rows) == list(range(200))
    assert {name: len(rows) for name, rows in found.items()} == {"train": 153, "selection": 17, "test": 30}
    counts = {name: Counter(labels[row] for row in rows) for name, rows in found.items()}
    assert set(counts["train"]) == {"a", "b", "rare", "once"}
    assert counts["test"]["a"] in (17, 18, 19)
    assert counts["selection"]["b"] in (5, 6, 7)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([["a", "b"], ["a"], ["b"], []] * 9 + [["a", "c"], ["c"]], spec(("a", "b", "c"), MULTI)),
        ([["O"] * 5, ["O", "B-LOC"]] * 9 + [["B-PER"], ["O", "B-PER"]], spec(("B-LOC", "B-PER", "O"))),
        ([[1, 0, 0], [0, 1, 0]] * 9 + [[0, 0, 1], [1, 0, 1]], spec(("0", "1", "2"), MULTI, "vector")),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_the_labels_of_lists_stay_in_train(labels: list[Any], found: TaskSpec, seed: int):
    taken = rows_of(labels, found, seed)["train"]
    there = {name for row in taken for name in labels[row] if isinstance(name, str)}
    if found.label_form == "vector":
        there = set(np.array(found.labels)[np.array([labels[row] for row in taken]).any(0)].tolist())
    assert there == set(found.labels)


@pytest.mark.parametrize(
    ("labels", "found"),
    [(None, spec()), ([float(row) for row in range(100)], spec(("value",), REGRESSION)), (["a", "b"] * 50, spec(("a", "b"), SINGLE))],
)  # fmt: skip
def test_a_split_is_the_seeds(labels: list[Any] | None, found: TaskSpec):
    first, again, other = (rows_of(labels, found, seed, rows=100) for seed in (0, 0, 1))
    assert first == again != other
    assert {name: len(rows) for name, rows in first.items()} == {"train": 77, "selection": 8, "test": 15}


def test_given_splits_are_taken_as_they_are():
    tables = {"train": table(["a", "b"] * 10), "test": table(["b"] * 3)}
    found = _split(tables, spec(("a", "b"), SINGLE), 0)  # type: ignore[arg-type]
    assert found["test"] == ("test", [0, 1, 2])
    assert (len(found["train"][1]), len(found["selection"][1])) == (18, 2)


def test_labels_that_leave_nothing_to_split_off_are_refused():
    labels = [str(row) for row in range(1_000)]
    with pytest.raises(DataError, match="1,000 labels in 1,010 rows leave 10 rows for the test split, which takes 152"):
        rows_of([*labels, *labels[:10]], spec(tuple(labels), SINGLE))


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="only 3 rows are left to train on"):
        rows_of(["a", "b", "a", "b", "a"], spec(("a", "b"), SINGLE))
