from typing import Any

import pytest

from edgeprune.base.errors import DataError, ModelError
from edgeprune.data.table import Table
from edgeprune.tasks.labels import LabelNumbers, distinct_labels, find_positions, is_multi_hot, require_label_names


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"id2label": None},
        {"id2label": {"0": "neg", "1": "pos"}, "label2id": {"neg": 0, "pos": 1}},
        {"id2label": {"1": "pos", "0": "neg"}},
        {"id2label": {"0": "neg", "1": "pos"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}},
        {"id2label": {"0": 0, "1": 1}},
    ],
)
def test_labels_that_name_each_output_once(config: dict[str, Any]) -> None:
    require_label_names(config, "config.json")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id2label": {"0": "neg", "2": "pos"}}, "id2label has no name for output 1; number its 2 labels from 0 to 1"),
        ({"id2label": {"1": "neg", "2": "pos"}}, "id2label has no name for output 0"),
        ({"id2label": {"0": "neg", "00": "pos"}}, "id2label has no name for output 1"),
        ({"id2label": {"0": "pos", "1": "pos"}}, "id2label gives 2 outputs the name 'pos'"),
        ({"id2label": {"0": 1, "1": "1"}}, "id2label gives 2 outputs the name '1'"),
        (
            {"id2label": {"0": "neg", "1": "pos"}, "label2id": {"neg": 1, "pos": 0}},
            "'neg' is output 0 in id2label, but 1 in label2id; make them agree",
        ),
    ],
)
def test_labels_that_could_mean_two_outputs_or_none(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"config.json: {message}"):
        require_label_names(config, "config.json")


NAMES = ("NEGATIVE", "POSITIVE")


def table(*labels: Any) -> Table:
    return Table(["a text"] * len(labels), list(labels))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["007", "042", "7"], ("007", "7", "042")),
        ([10, 9], ("9", "10")),
        (["1", "2", "other"], ("1", "2", "other")),
        ([["b"], [], ["a", "b"]], ("a", "b")),
        (["[greeting]", "[end]"], ("[end]", "[greeting]")),
        (["²", "1"], ("1", "²")),
    ],
)
def test_labels_are_called_as_they_are_written(labels: list[Any], expected: tuple[str, ...]):
    assert distinct_labels(table(*labels), "here") == expected


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"a": 1}, "here row 2: a label should be a text or a number, got {'a': 1}"),
        ([["a"]], "here row 2: a label should be a text or a number, got ['a']"),
        (b"pos", "here row 2: a label should be a text or a number, got b'pos'"),
        ("['a', 'b']", "here row 2: the label \"['a', 'b']\" is a list written as a text, and other rows have none"),
        ([0.25, 0.75], "here row 2: the labels [0.25, 0.75] are fractions"),
        ({"k" * 10**5: "v" * 10**5}, "here row 2: a label should be a text or a number, got {'kkkk"),
    ],
)
def test_what_is_no_label_is_refused_with_its_row(label: Any, message: str):
    with pytest.raises(DataError) as caught:
        distinct_labels(table("a", label), "here")
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 1], [0, 1, 1]),
        ([0.0, 1.0], [0, 1]),
        (["0", "1"], [0, 1]),
        ([False, True], [0, 1]),
        (["POSITIVE", 0], [1, 0]),
    ],
)
@pytest.mark.parametrize("names", [NAMES, ("LABEL_0", "LABEL_1"), ("class 0.0", "class 1.0")])
def test_whole_numbers_are_positions_of_a_models_labels(names: tuple[str, ...], labels: list[Any], expected: list[int]):
    labels = [names[1] if label == "POSITIVE" else label for label in labels]
    note = find_positions(labels, names)
    assert note is not None
    assert f"{labels[expected.index(0)]} is {names[0]}" in note
    assert [LabelNumbers(names, "position")(label, "here") for label in labels] == expected


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (NAMES, ["POSITIVE", "NEGATIVE"]),
        (("1 star", "2 stars", "3 stars"), [1, 2]),  # 1 is its own name's, not the second's
        (("1", "2"), [0, 1]),
        (("0", "1"), [0, 1]),
        (NAMES, [2, 3]),
        (NAMES, ["01", "1.5", "-1", "1e0", "²"]),
    ],
)
def test_other_labels_are_no_positions(names: tuple[str, ...], labels: list[Any]):
    assert find_positions(labels, names) is None


@pytest.mark.parametrize("label", [2, -1, 1.5, "2", "NEUTRAL", 10**30])
def test_a_position_that_is_not_there_is_refused(label: Any):
    with pytest.raises(
        DataError, match=r"is not one the model has \(NEGATIVE, POSITIVE\); write it as the model does, or as a"
    ):
        LabelNumbers(NAMES, "position")(label, "here")


def test_a_number_is_no_position_where_the_training_rows_gave_names():
    with pytest.raises(DataError, match=r"here: the label '1' is not one the model has \(NEGATIVE, POSITIVE\)"):
        LabelNumbers(NAMES)(1, "here")


def test_a_message_does_not_list_thousands_of_labels():
    with pytest.raises(DataError, match=r"l0, l1, .* and 4,980 more\)") as caught:
        LabelNumbers(tuple(f"l{number}" for number in range(5_000)))("other", "here")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], True),
        ([[1, 0], [0, 1]], True),
        ([[True, False], [False, False]], True),
        ([[1.0], [0.0]], True),
        ([[1], [0]], False),  # each the number of a label
        ([[0, 1], [1]], False),
        ([[0, 2], [1, 0]], False),
        ([["0", "1"], ["1", "0"]], False),
        ([[1, 0], "a"], False),
        ([[], []], False),
        ([0, 1], False),
    ],
)
def test_vectors_of_0_and_1_are_told_from_lists_of_labels(labels: list[Any], expected: bool):
    assert is_multi_hot(labels) is expected
