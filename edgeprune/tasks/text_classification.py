"""Text classification: single-label (accuracy), multi-label (micro-F1) and regression (Spearman's rho)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from edgeprune.assets.postprocess_text_classification import same_answers
from edgeprune.data import Label
from edgeprune.errors import DataError
from edgeprune.tasks.base import Array, Batch, Task, random_signs

__all__ = ["TextClassification"]

_METRICS = {
    "single_label_classification": "accuracy",
    "multi_label_classification": "micro_f1",
    "regression": "spearman",
}


class TextClassification(Task):
    """Outputs are logits, [batch, labels]; a regression's are [batch, 1]."""

    output_name = "logits"

    @property
    def metric_name(self) -> str:
        return _METRICS[self.spec.problem_type or ""]

    def metric(self, outputs: Array, references: Array) -> float:
        if self.spec.problem_type == "single_label_classification":
            return float(np.mean(outputs.argmax(-1) == references))
        if self.spec.problem_type == "multi_label_classification":
            # The same number as sklearn's f1_score(average="micro"), a hundred times faster: the bootstrap calls it often.
            predicted, actual = outputs > 0, references > 0.5
            return float(2 * (predicted & actual).sum() / max(1, predicted.sum() + actual.sum()))
        rho = spearmanr(outputs[:, 0], references).statistic
        return 0.0 if np.isnan(rho) else float(rho)

    def references(self, labels: Sequence[Label], *, where: str, rows: Sequence[int] | None = None) -> Array:
        numbered = list(zip(rows or range(1, len(labels) + 1), labels, strict=True))
        if self.spec.problem_type == "regression":
            return np.array([_number(label, f"{where} row {row}") for row, label in numbered], np.float32)
        known_labels = {name: position for position, name in enumerate(self.spec.labels)}

        def position(label: object, row: int) -> int:
            if str(label) not in known_labels:
                known = ", ".join(self.spec.labels[:20])
                raise DataError(f"{where} row {row}: the label {str(label)!r} is not one the model has ({known})")
            return known_labels[str(label)]

        if self.spec.problem_type == "single_label_classification":
            for row, label in numbered:
                if isinstance(label, list):
                    raise DataError(
                        f"{where} row {row}: one label expected, got a list; use --problem-type multi_label_classification"
                    )
            return np.array([position(label, row) for row, label in numbered], np.int64)
        result = np.zeros((len(labels), len(self.spec.labels)), np.float32)
        for index, (row, label) in enumerate(numbered):
            for one in label if isinstance(label, list) else [label]:
                result[index, position(one, row)] = 1.0
        return result

    def config_overrides(self) -> dict[str, Any]:
        return {
            "problem_type": self.spec.problem_type,
            "id2label": dict(enumerate(self.spec.labels)),
            "label2id": {name: position for position, name in enumerate(self.spec.labels)},
        }

    def forward(
        self, model: nn.Module, batch: Batch, *, hidden: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        result = model(**batch, output_hidden_states=hidden)
        return result.logits, result.hidden_states if hidden else ()

    def label_loss(self, outputs: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        if self.spec.problem_type == "single_label_classification":
            return functional.cross_entropy(outputs.float(), references)
        if self.spec.problem_type == "multi_label_classification":
            return functional.binary_cross_entropy_with_logits(outputs.float(), references)
        return functional.mse_loss(outputs.float()[:, 0], references)

    def distill_loss(self, student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
        """Hinton et al., https://arxiv.org/abs/1503.02531: KL divergence at temperature T, times T²."""
        student, teacher = student.float(), teacher.float()
        if self.spec.problem_type == "single_label_classification":
            return (
                functional.kl_div(
                    functional.log_softmax(student / temperature, -1),
                    functional.log_softmax(teacher / temperature, -1),
                    log_target=True,
                    reduction="batchmean",
                )
                * temperature**2
            )
        if self.spec.problem_type == "multi_label_classification":
            soft = torch.sigmoid(teacher / temperature)
            entropy = functional.binary_cross_entropy(soft, soft)
            return (functional.binary_cross_entropy_with_logits(student / temperature, soft) - entropy) * temperature**2
        return functional.mse_loss(student, teacher)

    def divergence_loss(self, outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The loss on labels drawn from the model's own probabilities; for a regression, a random sign.

        Its squared gradients average to the Fisher information, the curvature of the KL divergence (Martens,
        https://arxiv.org/abs/1412.1193).
        """
        outputs = outputs.float()
        if self.spec.problem_type == "single_label_classification":
            drawn = torch.multinomial(outputs.detach().softmax(-1), 1, generator=generator)[:, 0]
            return functional.cross_entropy(outputs, drawn, reduction="sum")
        if self.spec.problem_type == "multi_label_classification":
            drawn = torch.bernoulli(outputs.detach().sigmoid(), generator=generator)
            return functional.binary_cross_entropy_with_logits(outputs, drawn, reduction="sum")
        return (outputs * random_signs(outputs, generator)).sum()

    def exportable(self, model: PreTrainedModel) -> nn.Module:
        module: nn.Module = model
        return module

    def same_answer(self, a: Array, b: Array) -> Array:
        if self.spec.problem_type == "regression":
            return np.asarray(np.isclose(a, b, rtol=0.05, atol=0.05).all(-1))
        return np.asarray(same_answers(a, b, {"problem_type": self.spec.problem_type}))

    def linear_baseline(
        self, train: Sequence[str], train_references: Array, test: Sequence[str], test_references: Array
    ) -> float | None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import Ridge
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.svm import LinearSVC

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        try:
            features = vectorizer.fit_transform(train)
        except ValueError:  # no words at all in the texts
            return None
        test_features = vectorizer.transform(test)
        if self.spec.problem_type == "regression":
            predicted = Ridge().fit(features, train_references).predict(test_features)
            return self.metric(predicted[:, None], test_references)
        if len(np.unique(train_references, axis=0)) < 2:
            return None
        if self.spec.problem_type == "multi_label_classification":
            scores = (
                OneVsRestClassifier(LinearSVC(random_state=0))
                .fit(features, train_references)
                .decision_function(test_features)
            )
            return self.metric(np.asarray(scores), test_references)
        predicted = LinearSVC(random_state=0).fit(features, train_references).predict(test_features)
        return float(np.mean(predicted == test_references))


def _number(label: object, where: str) -> float:
    try:
        number = float(label)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: a regression's label should be a number, got {label!r}")
    return number
