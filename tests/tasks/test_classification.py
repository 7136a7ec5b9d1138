from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig

from edgeprune.base.errors import DataError
from edgeprune.data.table import Table, pick
from edgeprune.models.checkpoint import load_any, load_tokenizer
from edgeprune.tasks.registry import resolve_spec, task_for
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import ProblemType, TaskSpec
from tests.conftest import ModelFactory, synthetic_rows
from tests.support.tasks import MULTI, REGRESSION, SINGLE, classifier

HEAD = {"architectures": ["BertForSequenceClassification"]}


def resolved(labels: list[Any], asked: ProblemType | None = None, **config: Any) -> TaskSpec:
    return resolve_spec(
        Source(
            task="text-classification",
            folder=Path("nowhere"),
            config=BertConfig(**config),
            inputs=("input_ids",),
            splits={"train": Table(["a text"] * len(labels), labels)},
            max_length=16,
            problem_type=asked,
            note=print,
        )
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["pos", "neg", "pos"], (SINGLE, ("neg", "pos"))),
        ([10, 9, 9], (SINGLE, ("9", "10"))),
        ([1.0, 2.0], (SINGLE, ("1.0", "2.0"))),
        ([["b", "a"], [], ["c"]], (MULTI, ("a", "b", "c"))),
    ],
)
def test_without_a_head_the_labels_say_which_problem_it_is(labels: list[Any], expected: tuple[str, tuple[str, ...]]):
    spec = resolved(labels)
    assert (spec.problem_type, spec.labels) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_labels": 3}, (SINGLE, ("LABEL_0", "LABEL_1", "LABEL_2"))),
        ({"id2label": {0: "no", 1: "yes"}, "problem_type": MULTI}, (MULTI, ("no", "yes"))),
        ({"num_labels": 1}, (REGRESSION, ("value",))),
    ],
)
def test_a_head_says_which_problem_and_labels_it_was_trained_for(
    config: dict[str, Any], expected: tuple[str, tuple[str, ...]]
):
    spec = resolved(["a", "b"], **HEAD, **config)
    assert (spec.problem_type, spec.labels) == expected


def test_the_problem_asked_for_goes_first():
    assert resolved([1, 2], REGRESSION).labels == ("value",)
    assert resolved(["a", "b"], MULTI, **HEAD, num_labels=1).problem_type == MULTI


@pytest.mark.parametrize("labels", [[1, 0.5], ["a", 0.5], ["1", "0.5"]])
def test_fractions_are_no_classes(labels: list[Any]):
    with pytest.raises(
        DataError, match=r"labels such as '?0\.5'? are numbers, not classes; say --problem-type regression"
    ):
        resolved(labels)
    assert resolved(labels, SINGLE).labels[0] == "0.5"


def test_texts_of_which_some_are_fractions_are_classes():
    assert resolved(["gpt", "3.5"]).labels == ("3.5", "gpt")


def test_numbers_are_positions_of_a_heads_labels_and_of_no_others(capsys: pytest.CaptureFixture[str]):
    spec = resolved([0, 1, 1], **HEAD, id2label={0: "no", 1: "yes"})
    assert (spec.labels, spec.label_form) == (("no", "yes"), "position")
    assert "0 is no, 1 is yes" in capsys.readouterr().out
    assert resolved([0, 1, 1]).label_form == "name"


def test_vectors_of_0_and_1_are_labels_by_their_place(capsys: pytest.CaptureFixture[str]):
    rows: list[Any] = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    spec = resolved(rows)
    assert (spec.problem_type, spec.labels, spec.label_form) == (MULTI, ("0", "1", "2"), "vector")
    assert "by their place, 0 to 2" in capsys.readouterr().out
    named = resolved(rows, **HEAD, id2label={0: "a", 1: "b", 2: "c"}, problem_type=MULTI)
    for task in (task_for(spec), task_for(named)):
        found = task.references(Table(["a text"] * 3, rows), where="here")
        np.testing.assert_array_equal(np.array(found), rows)
        for other in ([1.0, 0.0], [1.0, 0.0, 2.0], ["a"], "a"):
            with pytest.raises(
                DataError, match="here row 1: a vector of 3 numbers, 0 or 1, expected, one for each label"
            ):
                task.references(Table(["a text"], [other]), where="here")  # type: ignore[list-item]
    with pytest.raises(DataError, match="vectors of one number, 0 or 1; give the number itself"):
        resolved([[1.0], [0.0]])


def test_a_linear_model_is_not_fitted_for_thousands_of_labels():
    labels = tuple(map(str, range(501)))
    task = classifier(SINGLE, labels)
    table = Table([f"word{label}" for label in labels], list(labels))
    references = task.references(table, where="here")
    assert task.linear_baseline(table, references, table, references) is None


def test_one_class_is_none():
    with pytest.raises(DataError, match=r"one label only \(a\); a classifier needs two or more"):
        resolved(["a", "a"])


def test_forward_gives_logits_and_hidden_states_only_where_asked(tiny_model_folder: ModelFactory):
    folder = tiny_model_folder()
    inputs = dict(load_tokenizer(folder)(["the film was good ."], return_tensors="pt"))
    task = classifier(SINGLE, ("neg", "pos"))
    with torch.inference_mode():
        outputs, none = task.forward(load_any(folder), inputs)
        _, states = task.forward(load_any(folder), inputs, hidden=True)
    assert (outputs.shape, none, len(states)) == ((1, 2), (), 3)


@pytest.mark.parametrize(("kind", "problem_type"), [("single", SINGLE), ("multi", MULTI), ("regression", REGRESSION)])
def test_separable_texts_need_no_transformer(kind: str, problem_type: ProblemType):
    rows = synthetic_rows(200, kind)
    table = Table([str(row["text"]) for row in rows], [row["label"] for row in rows])  # type: ignore[misc]
    task = classifier(problem_type, ("value",) if kind == "regression" else ("neg", "pos"))
    references = task.references(table, where="here")
    train, test = pick(table, range(150)), pick(table, range(150, 200))
    found = task.linear_baseline(train, references[:150], test, references[150:])
    assert found is not None
    assert found > 0.85


@pytest.mark.parametrize(
    ("texts", "labels"), [(["!", "?", "!!", "…"], ["a", "b", "a", "b"]), (["one two", "three four"] * 2, ["a"] * 4)]
)
def test_there_is_no_linear_baseline_without_words_or_with_one_class(texts: list[str], labels: list[str]):
    task = classifier(SINGLE)
    table = Table(texts, list(labels))
    references = task.references(table, where="here")
    assert task.linear_baseline(table, references, table, references) is None


@pytest.mark.parametrize(("labels", "told"), [([0, 1, 1], True), (["0", "1"], True), ([0.5, 1.0], False)])
def test_one_output_and_labels_of_0_and_1_may_be_a_sigmoid(
    labels: list[Any], told: bool, capsys: pytest.CaptureFixture[str]
):
    """huggingface/transformers#7726, sentence-transformers#581."""
    assert resolved(labels, **HEAD, num_labels=1).problem_type == REGRESSION
    assert ("say --problem-type multi_label_classification" in capsys.readouterr().out) == told
    assert resolved(labels[-1:] * 2, MULTI, **HEAD, num_labels=1, id2label={0: "same"}).labels == ("same",)
