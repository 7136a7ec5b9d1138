"""Say what a task does, in five roles, so that a stage asks for those it needs.

    RowEncoding   rows of data → examples: the model's inputs and the loss's targets
    Computation   examples → outputs: how the model is loaded, run and exported
    Losses        outputs → what training and gradients lower
    Measurement   outputs → metrics and answers, compared with references
    Packaging     what a package and its card say of how rows are read

A model gives raw outputs: [labels] or [hidden] a row, or something a token. The task reads of them what doesn't depend on
the tokenizer (a row's output): a model whose vocabulary was pruned is compared with the dense one by these.

A task is one class, put together from roles that tasks share (`text`, `image`, `losses`) and from its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from optimum.exporters.tasks import TasksManager
from pydantic import JsonValue
from torch import nn
from transformers import PreTrainedModel

from edgeprune.data.table import Content, Table
from edgeprune.models.reader import Array, Reader
from edgeprune.tasks.example import Batch, Example, model_inputs
from edgeprune.tasks.registry import IMAGE_TASKS
from edgeprune.tasks.source import Source
from edgeprune.tasks.spec import TaskSpec

__all__ = ["Computation", "Losses", "Measurement", "Packaging", "Reduction", "RowEncoding", "Task"]

Reduction = Literal["mean", "sum"]


class RowEncoding(ABC):
    """Make examples of rows."""

    @abstractmethod
    def encode(
        self, reader: Reader, contents: Sequence[Content], references: Sequence[Any] | None = None
    ) -> list[Example]:
        """Encode every row as the reader makes it, and with references the targets."""

    def behind_cut(self, examples: Sequence[Example]) -> float:
        """Compute the share of what is asked for that lies behind max_length, out of the model's sight."""
        return 0.0


class Computation(ABC):
    """Run the task's model, and read its outputs."""

    spec: TaskSpec
    output_names: ClassVar[tuple[str, ...]]
    """Names of the exported graph's outputs; where there are several, they are stacked along a new last axis."""
    max_batch_tokens: ClassVar[int] = 2048
    """Most padded tokens that are predicted at once."""

    @property
    def auto_class(self) -> Any:
        """Find transformers' auto class, in optimum's registry."""
        return TasksManager.get_model_class_for_task(self.spec.task, framework="pt", library="transformers")

    def config_overrides(self) -> dict[str, Any]:
        """Say what a dense model's config gets for this task when it is loaded."""
        labels = dict(enumerate(self.spec.labels))
        return {"id2label": labels, "label2id": {name: number for number, name in labels.items()}} if labels else {}

    def model_arguments(self, model_type: str) -> dict[str, Any]:
        """Say what the auto class is called with to leave out parts that this task doesn't use."""
        return {}

    def forward(
        self, model: nn.Module, batch: Batch, *, hidden: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Compute raw outputs, and with `hidden` the states after the embeddings and after each layer.

        States are [batch, tokens, hidden] each.
        Given `targets`, a task by token may leave out the outputs of tokens that have none.
        """
        result = model(**model_inputs(batch), output_hidden_states=hidden)
        return result.logits, result.hidden_states if hidden else ()

    def read(self, raw: Array, example: Example) -> Array:
        """Read a row's output of its raw output, which may have padding at its end."""
        return raw

    def among(self, outputs: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Give a dense model's raw outputs as one has them whose vocabulary is these of its tokens."""
        return outputs

    def exportable(self, model: PreTrainedModel) -> nn.Module:
        """Make a module whose only outputs are `output_names`."""
        module: nn.Module = model
        return module


class Losses(ABC):
    """Compute what training and gradient criteria lower, of batches of raw outputs."""

    @abstractmethod
    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        """Compute the training loss over the rows; 0 where none has a target."""

    @abstractmethod
    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute the mean distance over the rows of a student's and a teacher's raw outputs."""

    @abstractmethod
    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Sum over the rows what gradient criteria differentiate where there are no labels.

        The divergence from these very outputs has no gradient here, so this is a random function of the outputs whose
        squared gradients average to its curvature.
        """


class Measurement(ABC):
    """Compare rows' outputs with references, and with each other."""

    @property
    @abstractmethod
    def metric_name(self) -> str:
        """Name the primary metric, higher is better."""

    @abstractmethod
    def references(self, table: Table, *, where: str) -> Sequence[Any] | None:
        """Give what outputs are compared with, one a row; None: the dense model's outputs.

        Args:
            table: Rows and labels.
            where: What an error calls them.

        Raises:
            DataError: A label that the model doesn't have, or that doesn't belong to its row.
        """

    @abstractmethod
    def statistics(self, outputs: Sequence[Array], references: Sequence[Any]) -> Array:
        """Compute what the metrics are made of, [rows, statistics]: rows can be drawn again without reading them again."""

    @abstractmethod
    def summary(self, statistics: Array) -> dict[str, float]:
        """Compute the metrics of some rows, the primary one among them."""

    def metric(self, outputs: Sequence[Array], references: Sequence[Any]) -> float:
        """Compute the primary metric of rows' outputs against their references."""
        return self.summary(self.statistics(outputs, references))[self.metric_name]

    @abstractmethod
    def same_answer(self, a: Array, b: Array) -> bool:
        """Say whether two outputs of a row lead to the same answer, or to values that hardly differ."""

    def values(self, output: Array) -> Array:
        """Give the part of a row's output whose distance to another's says how near two models compute."""
        return output


class Packaging(ABC):
    """Describe how rows are read, for a package and its card."""

    @abstractmethod
    def golden(self, content: Content, reader: Reader) -> Any:
        """Give a row of the data as a user of the package would give it to run.py."""

    @abstractmethod
    def example_inputs(self, reader: Reader) -> tuple[str, ...]:
        """Give what a package's card gives to run.py."""

    @abstractmethod
    def reading(self, reader: Reader) -> dict[str, JsonValue]:
        """Give what edgeprune.json says for the package's preprocess.py."""

    @abstractmethod
    def reading_notes(self, reader: Reader) -> str:
        """Write a sentence about it for the package's card."""


class Task(RowEncoding, Computation, Losses, Measurement, Packaging):
    """Do one task, for one model's labels: all roles together."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @classmethod
    @abstractmethod
    def resolve(cls, source: Source) -> TaskSpec:
        """Resolve the task for one model and its data.

        Raises:
            DataError: Labels that can't be learned from, or an image that can't be read.
        """

    @property
    def kind(self) -> Literal["text", "image"]:
        """Name what a row is."""
        return "image" if self.spec.task in IMAGE_TASKS else "text"

    def linear_baseline(
        self, train: Table, train_references: Sequence[Any], test: Table, test_references: Sequence[Any]
    ) -> float | None:
        """Compute the metric of a linear model of plain features on the same rows; None where that makes no sense."""
        return None
