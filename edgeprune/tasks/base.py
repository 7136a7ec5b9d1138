"""What every task tells the rest: its class, outputs, losses and primary metric.

Shapes: `outputs` is [batch, labels] logits or [batch, hidden] embeddings; `references` is what outputs are compared with.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy.typing as npt
import torch
from optimum.exporters.tasks import TasksManager
from torch import nn
from transformers import PreTrainedModel

from edgeprune.data import Label
from edgeprune.tasks import TaskSpec

__all__ = ["Array", "Batch", "Task", "random_signs"]

Array = npt.NDArray[Any]
Batch = dict[str, torch.Tensor]


class Task(ABC):
    """One task, for one model's labels."""

    output_name: ClassVar[str]
    """Name of the exported graph's output."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @property
    def auto_class(self) -> Any:
        """transformers' auto class, from optimum's registry."""
        return TasksManager.get_model_class_for_task(self.spec.task, framework="pt", library="transformers")

    @property
    @abstractmethod
    def metric_name(self) -> str:
        """The primary metric, higher is better."""

    @abstractmethod
    def metric(self, outputs: Array, references: Array) -> float:
        """The primary metric of `outputs` [rows, …] against `references` [rows, …]."""

    @abstractmethod
    def references(self, labels: Sequence[Label], *, where: str, rows: Sequence[int] | None = None) -> Array:
        """Labels as an array.

        Args:
            labels: One a row.
            where: What an error calls them.
            rows: The numbers that an error gives them; None counts from 1.

        Raises:
            DataError: A label that the model doesn't have.
        """

    @abstractmethod
    def config_overrides(self) -> dict[str, Any]:
        """What a dense model's config gets for this task when it is loaded."""

    def model_arguments(self, model_type: str) -> dict[str, Any]:
        """What the auto class is called with to leave out parts that this task doesn't use."""
        return {}

    @abstractmethod
    def forward(
        self, model: nn.Module, batch: Batch, *, hidden: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Outputs, and with `hidden` the states after the embeddings and each layer, [batch, tokens, hidden] each."""

    @abstractmethod
    def label_loss(self, outputs: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """Mean training loss over a batch."""

    @abstractmethod
    def distill_loss(self, student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
        """Mean distance between a student's and a teacher's outputs."""

    @abstractmethod
    def divergence_loss(self, outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Sum over a batch of what gradient criteria differentiate where there are no labels.

        The divergence from these very outputs has no gradient here, so this is a random function of the outputs whose
        squared gradients average to its curvature.
        """

    @abstractmethod
    def exportable(self, model: PreTrainedModel) -> nn.Module:
        """A module whose only output is `output_name`."""

    @abstractmethod
    def linear_baseline(
        self, train: Sequence[str], train_references: Array, test: Sequence[str], test_references: Array
    ) -> float | None:
        """The metric of TF-IDF and a linear model on the same rows; None where that makes no sense."""

    @abstractmethod
    def same_answer(self, a: Array, b: Array) -> Array:
        """By row, whether two outputs lead to the same answer, or to values that hardly differ."""


def random_signs(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """+1 or -1 with equal probability, in the shape and type of `like`."""
    return torch.randint(0, 2, like.shape, generator=generator).to(like.dtype) * 2 - 1
