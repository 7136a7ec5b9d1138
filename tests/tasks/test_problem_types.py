from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score

from edgeprune.base.errors import DataError
from edgeprune.data.table import Table
from edgeprune.tasks.problem_types import SingleLabel
from edgeprune.tasks.spec import ProblemType
from tests.support.tasks import MULTI, REGRESSION, SINGLE, classifier, some_outputs

seeds = st.integers(0, 10_000)


def table_of(labels: list[Any]) -> Table:
    return Table(["a text"] * len(labels), labels)


@given(seeds)
def test_accuracy_is_scikit_learns(seed: int):
    generator = np.random.default_rng(seed)
    outputs, references = generator.normal(size=(20, 3)), generator.integers(3, size=20)
    task = classifier(SINGLE)
    assert task.metric_name == "accuracy"
    assert task.metric(outputs, references) == pytest.approx(accuracy_score(references, outputs.argmax(1)))


@given(seeds, st.floats(0, 1))
def test_micro_f1_is_scikit_learns(seed: int, share: float):
    generator = np.random.default_rng(seed)
    outputs = generator.normal(size=(20, 3)) + share - 0.5
    references = (generator.random((20, 3)) < share).astype(np.float32)
    task = classifier(MULTI)
    assert task.metric_name == "micro_f1"
    expected = f1_score(references, outputs > 0, average="micro", zero_division=0)
    assert task.metric(outputs, references) == pytest.approx(expected)


def test_micro_f1_without_any_label_is_zero():
    assert classifier(MULTI).metric(-np.ones((4, 3)), np.zeros((4, 3))) == 0


@given(seeds)
def test_spearman_is_scipys_with_ties(seed: int):
    generator = np.random.default_rng(seed)
    outputs, references = generator.integers(5, size=(30, 1)) * 1.0, generator.integers(5, size=30) * 1.0
    task = classifier(REGRESSION, ("value",))
    assert task.metric_name == "spearman"
    assert task.metric(outputs, references) == pytest.approx(spearmanr(outputs[:, 0], references).statistic)


@pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")  # builds run with libraries' warnings off
def test_spearman_of_a_constant_is_zero():
    task = classifier(REGRESSION, ("value",))
    assert task.metric(np.zeros((5, 1)), np.arange(5.0)) == 0
    assert task.metric(np.arange(5.0)[:, None], np.zeros(5)) == 0


@pytest.mark.parametrize(
    ("problem_type", "labels", "expected"),
    [
        (SINGLE, ["b", "a", "c"], [1, 0, 2]),
        (MULTI, [["a", "c"], [], "b", ["b"]], [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 1, 0]]),
        (REGRESSION, [1, -0.5, "2.5", "1e-3"], [1, -0.5, 2.5, 1e-3]),
    ],
)
def test_labels_become_numbers(problem_type: ProblemType, labels: list[Any], expected: list[Any]):
    found = np.array(classifier(problem_type).references(table_of(labels), where="train"))
    np.testing.assert_allclose(found, expected)
    assert found.dtype == (np.int64 if problem_type == SINGLE else np.float32)


def test_whole_numbers_are_labels_by_their_names():
    task = classifier(SINGLE, ("0", "1", "10"))
    assert task.references(table_of([10, 0, "1"]), where="train") == [2, 0, 1]


@pytest.mark.parametrize(
    ("problem_type", "labels", "message"),
    [
        (SINGLE, ["a", "x"], "the test split row 2: the label 'x' is not one the model has (a, b, c)"),
        (SINGLE, [1], "the test split row 1: the label '1' is not one the model has (a, b, c)"),
        (SINGLE, ["a", ["a", "b"]], "the test split row 2: one label expected, got a list; use --problem-type multi"),
        (MULTI, [["a"], ["b", "x"]], "the test split row 2: the label 'x' is not one the model has (a, b, c)"),
        (REGRESSION, [1.5, "good"], "the test split row 2: a regression's label should be a number, got 'good'"),
        (REGRESSION, [["1"]], "the test split row 1: a regression's label should be a number, got ['1']"),
        (REGRESSION, [1.0, "nan"], "the test split row 2: a regression's label should be a number, got 'nan'"),
        (REGRESSION, [10**400], "the test split row 1: a regression's label should be a number, got 1000"),
    ],
)
def test_a_label_that_the_model_does_not_have_is_refused_with_its_row(
    problem_type: ProblemType, labels: list[Any], message: str
):
    with pytest.raises(DataError) as caught:
        classifier(problem_type).references(table_of(labels), where="the test split")
    assert message in str(caught.value)


def test_confident_teachers_distil_to_finite_losses():
    for task in (classifier(SINGLE), classifier(MULTI)):
        teacher = 1e3 * some_outputs(task)
        assert torch.isfinite(task.distill_loss(some_outputs(task, seed=1), teacher, 1.0))
        assert task.distill_loss(teacher, teacher, 1.0).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
def test_without_labels_squared_gradients_average_to_the_curvature_of_the_divergence(problem_type: ProblemType):
    """The Hessian of KL(p ‖ softmax) at p, by logit: p(1 - p)."""
    task, generator = classifier(problem_type), torch.Generator().manual_seed(0)
    logits = torch.tensor([[0.5, -1.0, 2.0]]).repeat(4000, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(task.divergence_loss(logits, generator), logits)
    probabilities = logits[0].detach().softmax(-1) if problem_type == SINGLE else logits[0].detach().sigmoid()
    expected = probabilities * (1 - probabilities)
    torch.testing.assert_close(gradient.square().mean(0), expected, rtol=0.15, atol=0.01)


def test_the_recall_of_a_label_without_a_reference_is_not_told():
    task = SingleLabel(("neg", "pos", "odd"), "name")
    statistics = task.statistics([np.array([1.0, 0.0, 0.0])] * 2, [np.int64(0), np.int64(1)])
    assert task.summary(statistics) == {"accuracy": 0.5, "recall of neg": 1.0, "recall of pos": 0.0}
