"""What classifying texts and images share: single-label (accuracy), multi-label (micro-F1), regression (Spearman's rho)."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn import functional

from edgeprune.base.errors import DataError
from edgeprune.data.table import Label, Table
from edgeprune.models.reader import Array
from edgeprune.store.records import recall_of
from edgeprune.tasks import ProblemType, TaskName, TaskSpec
from edgeprune.tasks.base import Reduction, Source, Task, distinct_labels, random_signs

__all__ = ["Classification"]

_METRICS = {
    "single_label_classification": "accuracy",
    "multi_label_classification": "micro_f1",
    "regression": "spearman",
}


class Classification(Task):
    """Outputs are logits, [labels]; a regression's are [1]."""

    output_names = ("logits",)
    name: ClassVar[TaskName]
    head: ClassVar[str]
    """What the name of a class with a head for this task ends in."""

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        config, labels_given = source.config, source.train.labels
        assert labels_given is not None  # noqa: S101 (this task is labelled, so its table is)
        trained = source.has_head(cls.head)
        problem_type = source.problem_type or (config.problem_type if trained else None)
        if problem_type is None:
            problem_type = "regression" if trained and config.num_labels == 1 else _guess_problem_type(labels_given)
        if problem_type == "regression":
            labels: tuple[str, ...] = ("value",)
        elif trained:
            labels = tuple(str(config.id2label[position]) for position in range(config.num_labels))
        else:
            labels = distinct_labels(
                one for label in labels_given for one in (label if isinstance(label, list) else [label])
            )
        return TaskSpec(
            task=cls.name,
            problem_type=cast("ProblemType", problem_type),
            labels=labels,
            max_length=source.max_length,
            inputs=source.inputs,
            pair=isinstance(source.train.contents[0], tuple),
        )

    def config_overrides(self) -> dict[str, Any]:
        return {
            "problem_type": self.spec.problem_type,
            **super().config_overrides(),
        }

    def references(self, table: Table, *, where: str) -> list[Any]:
        assert table.labels is not None  # noqa: S101 (as above)
        numbered = list(zip(table.numbers, table.labels, strict=True))
        if self.spec.problem_type == "regression":
            return [np.float32(_number(label, f"{where} row {row}")) for row, label in numbered]
        if self.spec.problem_type == "single_label_classification":
            for row, label in numbered:
                if isinstance(label, list):
                    raise DataError(
                        f"{where} row {row}: one label expected, got a list; use --problem-type multi_label_classification"
                    )
            return [np.int64(self.label_number(label, f"{where} row {row}")) for row, label in numbered]
        result = np.zeros((len(numbered), len(self.spec.labels)), np.float32)
        for index, (row, label) in enumerate(numbered):
            for one in label if isinstance(label, list) else [label]:
                result[index, self.label_number(one, f"{where} row {row}")] = 1.0
        return list(result)

    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        if self.spec.problem_type == "single_label_classification":
            return super().label_loss(outputs, targets, reduction)
        if self.spec.problem_type == "multi_label_classification":
            loss = functional.binary_cross_entropy_with_logits(outputs.float(), targets)
        else:
            loss = functional.mse_loss(outputs.float()[:, 0], targets)
        return loss * len(outputs) if reduction == "sum" else loss

    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Divergence of the softmax, or of each label's sigmoid, at the temperature; a regression's squared error."""
        if self.spec.problem_type == "single_label_classification":
            return super().distill_loss(student, teacher, temperature)
        student, teacher = student.float(), teacher.float()
        if self.spec.problem_type == "multi_label_classification":
            soft = torch.sigmoid(teacher / temperature)
            entropy = functional.binary_cross_entropy(soft, soft)
            return (functional.binary_cross_entropy_with_logits(student / temperature, soft) - entropy) * temperature**2
        return functional.mse_loss(student, teacher)

    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The loss on labels drawn from the model's own probabilities; for a regression, a random sign."""
        if self.spec.problem_type == "single_label_classification":
            return super().divergence_loss(outputs, generator)
        outputs = outputs.float()
        if self.spec.problem_type == "multi_label_classification":
            drawn = torch.bernoulli(outputs.detach().sigmoid(), generator=generator)
            return functional.binary_cross_entropy_with_logits(outputs, drawn, reduction="sum")
        return (outputs * random_signs(outputs, generator)).sum()

    @property
    def metric_name(self) -> str:
        return _METRICS[self.spec.problem_type or ""]

    def statistics(self, outputs: Sequence[Array], references: Sequence[Any]) -> Array:
        found, right = np.stack(outputs), np.asarray(references)
        if self.spec.problem_type == "single_label_classification":
            return np.stack([found.argmax(-1) == right, right], 1)
        if self.spec.problem_type == "multi_label_classification":
            predicted, actual = found > 0, right > 0.5
            return np.stack([(predicted & actual).sum(1), predicted.sum(1) + actual.sum(1)], 1)
        return np.stack([found[:, 0], right], 1)

    def summary(self, statistics: Array) -> dict[str, float]:
        others: dict[str, float] = {}
        if self.spec.problem_type == "single_label_classification":
            hits, labels = statistics.T
            value = float(hits.mean())
            count = len(self.spec.labels)
            there = np.bincount(labels.astype(int), minlength=count)
            found = np.bincount(labels.astype(int), weights=hits, minlength=count)
            others = {recall_of(self.spec.labels[one]): float(found[one] / there[one]) for one in np.flatnonzero(there)}
        elif self.spec.problem_type == "multi_label_classification":
            hits, all_ = statistics.sum(0)
            value = float(2 * hits / max(1, all_))
        else:
            rho = spearmanr(statistics[:, 0], statistics[:, 1]).statistic
            value = 0.0 if np.isnan(rho) else float(rho)
        return {self.metric_name: value, **others}

    def same_answer(self, a: Array, b: Array) -> bool:
        if self.spec.problem_type == "regression":
            return bool(np.isclose(a, b, rtol=0.05, atol=0.05).all())
        if self.spec.problem_type == "multi_label_classification":
            return np.array_equal(a > 0, b > 0)
        return bool(a.argmax() == b.argmax())

    def linear_baseline(
        self, train: Table, train_references: Sequence[Any], test: Table, test_references: Sequence[Any]
    ) -> float | None:
        from sklearn.linear_model import Ridge
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.svm import LinearSVC

        found = self.plain_features(train, test)
        if found is None:
            return None
        features, test_features = found
        if self.spec.problem_type == "regression":
            predicted = Ridge().fit(features, train_references).predict(test_features)
            return self.metric(list(predicted[:, None]), test_references)
        if len(np.unique(train_references, axis=0)) < 2:
            return None
        if self.spec.problem_type == "multi_label_classification":
            scores = (
                OneVsRestClassifier(LinearSVC(random_state=0))
                .fit(features, np.stack(train_references))
                .decision_function(test_features)
            )
            return self.metric(list(np.asarray(scores)), test_references)
        predicted = LinearSVC(random_state=0).fit(features, train_references).predict(test_features)
        return float(np.mean(predicted == np.asarray(test_references)))

    @abstractmethod
    def plain_features(self, train: Table, test: Table) -> tuple[Any, Any] | None:
        """What the linear model is fitted to and measured on, [rows, features] each; None where there is nothing."""


def _number(label: object, where: str) -> float:
    try:
        number = float(label)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: a regression's label should be a number, got {label!r}")
    return number


def _guess_problem_type(labels: list[Label]) -> ProblemType:
    if all(isinstance(label, list) for label in labels):
        return "multi_label_classification"
    fractional = next((label for label in labels if isinstance(label, float) and label != int(label)), None)
    if fractional is not None:
        raise DataError(f"labels such as {fractional!r} are numbers, not classes; say --problem-type regression")
    return "single_label_classification"
