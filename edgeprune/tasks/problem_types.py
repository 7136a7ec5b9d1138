"""Read, learn and measure the labels of a classification, with one class for each problem type.

single label   one of the labels for each row     accuracy
multi-label    any of the labels, each a sigmoid  micro-F1
regression     a number for each row              Spearman's rho
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import expit, softmax
from scipy.stats import spearmanr
from torch.nn import functional

from edgeprune.base.errors import DataError
from edgeprune.base.wording import listed, quoted
from edgeprune.data.table import Content, Label, Table
from edgeprune.models.reader import Array
from edgeprune.store.records import recall_of
from edgeprune.tasks.labels import LabelNumbers, is_multi_hot, labelled_rows, labels_of, number_of
from edgeprune.tasks.losses import SoftmaxLosses, random_signs
from edgeprune.tasks.roles import Losses, Measurement, Reduction
from edgeprune.tasks.spec import LabelForm, ProblemType

__all__ = ["PROBLEMS", "MultiLabel", "Problem", "Regression", "SingleLabel"]

_MOST_LABELS = 500
"""That a linear model is fitted for: it takes a fit for each."""


class Problem(Losses, Measurement):
    """Do what depends on the problem type. A row's output is its logits, [labels], or a regression's number, [1].

    Args:
        labels: In the order of the outputs.
        form: How the data writes them.
    """

    def __init__(self, labels: tuple[str, ...], form: LabelForm) -> None:
        self.labels = labels
        self.form = form

    @abstractmethod
    def linear_outputs(self, features: Any, references: Sequence[Any], test_features: Any) -> Array | None:
        """Fit a linear model and run it on other rows.

        Args:
            features: The features to fit to, [rows, features]; a NumPy array or a sparse matrix.
            references: One reference for each row.
            test_features: The features of the other rows, [test rows, features].

        Returns:
            Outputs, [test rows, labels]; None: all references are the same, or there are more than 500 labels.
        """


class SingleLabel(SoftmaxLosses, Problem):
    """Choose one of the labels; the loss is cross entropy, and the metric is accuracy."""

    metric_name = "accuracy"

    def references(self, table: Table, *, where: str) -> list[np.int64]:
        """Give the position of each row's label."""
        found, number = [], LabelNumbers(self.labels, self.form)
        for place, label in labelled_rows(table, where):
            if isinstance(label, list):
                raise DataError(
                    f"{place}: one label expected, got a list; use --problem-type multi_label_classification"
                )
            found.append(np.int64(number(label, place)))
        return found

    def statistics(self, outputs: Sequence[Array], references: Sequence[Any]) -> Array:
        """Say for each row whether the output is right, and give the position of the row's label."""
        right = np.asarray(references)
        return np.stack([np.stack(outputs).argmax(-1) == right, right], 1)

    def summary(self, statistics: Array) -> dict[str, float]:
        """Compute accuracy, and the recall of every label that some row has."""
        hits, labels = statistics.T
        count = len(self.labels)
        there = np.bincount(labels.astype(int), minlength=count)
        found = np.bincount(labels.astype(int), weights=hits, minlength=count)
        recalls = {recall_of(self.labels[one]): float(found[one] / there[one]) for one in np.flatnonzero(there)}
        return {self.metric_name: float(hits.mean()), **recalls}

    def said(self, output: Array, content: Content) -> dict[str, Any]:
        scores = softmax(output.astype(np.float64)).tolist()
        return {"label": self.labels[int(output.argmax())], "scores": dict(zip(self.labels, scores, strict=True))}

    def same_answer(self, a: Array, b: Array) -> bool:
        return bool(a.argmax() == b.argmax())

    def linear_outputs(self, features: Any, references: Sequence[Any], test_features: Any) -> Array | None:
        from sklearn.svm import LinearSVC

        if len(self.labels) > _MOST_LABELS or len(np.unique(references)) < 2:
            return None
        predicted = LinearSVC(random_state=0).fit(features, references).predict(test_features)
        return np.asarray(np.eye(len(self.labels))[predicted])


class MultiLabel(Problem):
    """Choose any of the labels by a sigmoid each; the loss is binary cross entropy, and the metric is micro-F1."""

    metric_name = "micro_f1"

    def references(self, table: Table, *, where: str) -> list[Array]:
        """Give each row's labels, [labels] of 0 or 1."""
        if self.form == "vector":
            return [self._vector(label, place) for place, label in labelled_rows(table, where)]
        found, number = [], LabelNumbers(self.labels, self.form)
        for place, label in labelled_rows(table, where):
            chosen = np.zeros(len(self.labels), np.float32)
            for one in labels_of(label):
                chosen[number(one, place)] = 1.0
            found.append(chosen)
        return found

    def _vector(self, label: Label, where: str) -> Array:
        if not is_multi_hot([label]) or len(labels_of(label)) != len(self.labels):
            raise DataError(
                f"{where}: a vector of {len(self.labels)} numbers, 0 or 1, expected, one for each label "
                f"({listed(self.labels)}), got {quoted(label)}"
            )
        return np.asarray(label, np.float32)

    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        loss = functional.binary_cross_entropy_with_logits(outputs.float(), targets)
        return loss * len(outputs) if reduction == "sum" else loss

    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute the divergence of each label's sigmoid at temperature T, times T²."""
        soft = torch.sigmoid(teacher.float() / temperature)
        entropy = functional.binary_cross_entropy(soft, soft)
        crossed = functional.binary_cross_entropy_with_logits(student.float() / temperature, soft)
        return (crossed - entropy) * temperature**2

    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Sum the loss on labels drawn from the outputs' own probabilities."""
        drawn = torch.bernoulli(outputs.detach().float().sigmoid(), generator=generator)
        return functional.binary_cross_entropy_with_logits(outputs.float(), drawn, reduction="sum")

    def statistics(self, outputs: Sequence[Array], references: Sequence[Any]) -> Array:
        """Count for each row the labels that were found rightly, and the labels found plus the labels of the row."""
        predicted, actual = np.stack(outputs) > 0, np.asarray(references) > 0.5
        return np.stack([(predicted & actual).sum(1), predicted.sum(1) + actual.sum(1)], 1)

    def summary(self, statistics: Array) -> dict[str, float]:
        hits, all_ = statistics.sum(0)
        return {self.metric_name: float(2 * hits / max(1, all_))}

    def said(self, output: Array, content: Content) -> dict[str, Any]:
        scores = expit(output.astype(np.float64)).tolist()
        return {
            "labels": [label for label, logit in zip(self.labels, output, strict=True) if logit > 0],
            "scores": dict(zip(self.labels, scores, strict=True)),
        }

    def same_answer(self, a: Array, b: Array) -> bool:
        return np.array_equal(a > 0, b > 0)

    def linear_outputs(self, features: Any, references: Sequence[Any], test_features: Any) -> Array | None:
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.svm import LinearSVC

        if len(self.labels) > _MOST_LABELS or len(np.unique(references, axis=0)) < 2:
            return None
        fitted = OneVsRestClassifier(LinearSVC(random_state=0)).fit(features, np.stack(references))
        return np.asarray(fitted.decision_function(test_features))


class Regression(Problem):
    """Give a number; the loss is the squared error, and the metric is Spearman's rho."""

    metric_name = "spearman"

    def references(self, table: Table, *, where: str) -> list[np.float32]:
        """Give each row's number."""
        return [np.float32(_number(label, place)) for place, label in labelled_rows(table, where)]

    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        loss = functional.mse_loss(outputs.float()[:, 0], targets)
        return loss * len(outputs) if reduction == "sum" else loss

    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute the mean squared error. The temperature changes nothing."""
        return functional.mse_loss(student.float(), teacher.float())

    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Sum the outputs, each with a random sign: squared gradients average to ‖∂outputs/∂m‖² (Hutchinson)."""
        outputs = outputs.float()
        return (outputs * random_signs(outputs, generator)).sum()

    def statistics(self, outputs: Sequence[Array], references: Sequence[Any]) -> Array:
        """Give for each row the number that was found, and the right number."""
        return np.stack([np.stack(outputs)[:, 0], np.asarray(references)], 1)

    def summary(self, statistics: Array) -> dict[str, float]:
        """Compute Spearman's rho; it is 0 if either side is constant."""
        rho = spearmanr(statistics[:, 0], statistics[:, 1]).statistic
        return {self.metric_name: 0.0 if np.isnan(rho) else float(rho)}

    def said(self, output: Array, content: Content) -> dict[str, Any]:
        return {"value": float(output[0])}

    def same_answer(self, a: Array, b: Array) -> bool:
        return bool(np.isclose(a, b, rtol=0.05, atol=0.05).all())

    def linear_outputs(self, features: Any, references: Sequence[Any], test_features: Any) -> Array:
        from sklearn.linear_model import Ridge

        return np.asarray(Ridge().fit(features, references).predict(test_features))[:, None]


PROBLEMS: dict[ProblemType, type[Problem]] = {
    "single_label_classification": SingleLabel,
    "multi_label_classification": MultiLabel,
    "regression": Regression,
}


def _number(label: object, where: str) -> float:
    number = number_of(label)
    if number is None:
        raise DataError(f"{where}: a regression's label should be a number, got {quoted(label)}")
    return number
