"""Classify texts or images: resolve the problem type and the labels, and leave the rest to the problem type's class."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch

from edgeprune.base.errors import DataError
from edgeprune.base.wording import quoted
from edgeprune.data.table import Content, Label, Table
from edgeprune.models.reader import Array
from edgeprune.tasks.labels import distinct_labels, is_multi_hot, labels_of, number_of
from edgeprune.tasks.problem_types import PROBLEMS
from edgeprune.tasks.roles import Reduction, Task
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import LabelForm, ProblemType, TaskSpec

__all__ = ["Classification"]


class Classification(Task):
    """Give a row a label, several labels or a number. The problem type's class has the losses and the measurement."""

    output_names = ("logits",)

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        assert spec.problem_type is not None  # noqa: S101 (`resolve` always says which)
        self._problem = PROBLEMS[spec.problem_type](spec.labels, spec.label_form)

    @classmethod
    def resolve(cls, source: Source) -> TaskSpec:
        problem_type = _problem_type(source)
        labels, form = _labels(source, problem_type)
        return TaskSpec(
            task=source.task,
            problem_type=problem_type,
            labels=labels,
            label_form=form,
            max_length=source.max_length,
            inputs=source.inputs,
            pair=isinstance(source.train.contents[0], tuple),
        )

    def config_overrides(self) -> dict[str, Any]:
        return {"problem_type": self.spec.problem_type, **super().config_overrides()}

    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        return self._problem.label_loss(outputs, targets, reduction)

    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._problem.distill_loss(student, teacher, temperature, targets)

    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._problem.divergence_loss(outputs, generator, targets)

    @property
    def metric_name(self) -> str:
        return self._problem.metric_name

    def references(self, table: Table, *, where: str) -> Sequence[Any] | None:
        return self._problem.references(table, where=where)

    def statistics(self, outputs: Sequence[Array], references: Sequence[Any]) -> Array:
        return self._problem.statistics(outputs, references)

    def summary(self, statistics: Array) -> dict[str, float]:
        return self._problem.summary(statistics)

    def said(self, output: Array, content: Content) -> dict[str, Any]:
        return self._problem.said(output, content)

    def same_answer(self, a: Array, b: Array) -> bool:
        return self._problem.same_answer(a, b)

    def linear_baseline(
        self, train: Table, train_references: Sequence[Any], test: Table, test_references: Sequence[Any]
    ) -> float | None:
        found = self.plain_features(train, test)
        if found is None:
            return None
        outputs = self._problem.linear_outputs(found[0], train_references, found[1])
        return None if outputs is None else self.metric(list(outputs), test_references)

    @abstractmethod
    def plain_features(self, train: Table, test: Table) -> tuple[Any, Any] | None:
        """Compute the features that a linear model is fitted to and run on, [rows, features] each; None: none exist."""


def _problem_type(source: Source) -> ProblemType:
    """Take the problem type that was asked for, or the type of the checkpoint's head, or guess it from the labels."""
    if source.problem_type is not None:
        return source.problem_type
    if source.has_head and source.config.problem_type:
        return cast("ProblemType", source.config.problem_type)
    if source.has_head and source.config.num_labels == 1:
        if all(number_of(label) in (0, 1) for label in source.train_labels):
            source.note(
                "the checkpoint has one output and the labels are 0 and 1: the output is trained and measured as it is, as "
                "in a regression; if the model was trained through a sigmoid, as most cross-encoders are, say "
                "--problem-type multi_label_classification"
            )
        return "regression"
    return _guess(source.train_labels)


def _guess(labels: list[Label]) -> ProblemType:
    if all(isinstance(label, list) for label in labels):
        return "multi_label_classification"
    numbers = [number_of(label) for label in labels]
    for label, number in zip(labels, numbers, strict=True):
        # A text that is a number is one where all are: a column of a CSV is text.
        if number is not None and number % 1 and (isinstance(label, float) or None not in numbers):
            raise DataError(
                f"labels such as {quoted(label)} are numbers, not classes; say --problem-type regression, or "
                f"single_label_classification where they are names"
            )
    return "single_label_classification"


def _labels(source: Source, problem_type: ProblemType) -> tuple[tuple[str, ...], LabelForm]:
    if problem_type == "regression":
        return ("value",), "name"
    vectors = problem_type == "multi_label_classification" and is_multi_hot(source.train_labels)
    if source.has_head:
        return source.head_labels(), "vector" if vectors else source.head_label_form()
    if not vectors:
        return distinct_labels(source.train, "the train split"), "name"
    width = len(labels_of(source.train_labels[0]))
    if width < 2:
        raise DataError("the labels are vectors of one number, 0 or 1; give the number itself, not in a list")
    source.note(f"the labels are vectors of 0 and 1: the package calls them by their place, 0 to {width - 1}")
    return tuple(map(str, range(width))), "vector"
