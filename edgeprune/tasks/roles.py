"""Say what a task does, in five roles, so that a stage asks only for the roles that it needs.

    RowEncoding   rows of data → examples: the model's inputs and the loss's targets
    Computation   examples → outputs: how the model is loaded, run and exported
    Losses        outputs → what training and gradient criteria lower
    Measurement   outputs → metrics and answers, compared with references
    Packaging     what a package and its card say about how rows are read

A model gives raw outputs: [labels] or [hidden] for each row, or something for each token. From them, the task reads a
row's output, which doesn't depend on the tokenizer. A model whose vocabulary was pruned can therefore be compared with
the dense model.

A task is one class, put together from roles that tasks share (`text`, `image`, `losses`) and from roles of its own.
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
        """Encode every row with the reader. With references, the examples have targets."""

    def behind_cut(self, examples: Sequence[Example]) -> float:
        """Compute the share of the answers that lie behind max_length, where the model can't see them."""
        return 0.0


class Computation(ABC):
    """Run the task's model, and read its outputs."""

    spec: TaskSpec
    output_names: ClassVar[tuple[str, ...]]
    """The names of the outputs that answers are made of. Several outputs are stacked along a new last axis."""
    unread_names: ClassVar[tuple[str, ...]] = ()
    """The names of the exported graph's outputs before those, which only other programs read."""
    max_batch_tokens: ClassVar[int] = 2048
    """The most padded tokens that are predicted at once."""

    @property
    def auto_class(self) -> Any:
        """Find transformers' auto class, in optimum's registry."""
        return TasksManager.get_model_class_for_task(self.spec.task, framework="pt", library="transformers")

    def config_overrides(self) -> dict[str, Any]:
        """Give the entries that a dense model's config gets for this task when the model is loaded."""
        labels = dict(enumerate(self.spec.labels))
        return {"id2label": labels, "label2id": {name: number for number, name in labels.items()}} if labels else {}

    def model_arguments(self, model_type: str) -> dict[str, Any]:
        """Give the arguments by which the auto class leaves out parts that this task doesn't use."""
        return {}

    def forward(
        self, model: nn.Module, batch: Batch, *, hidden: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Compute raw outputs and, with `hidden`, the states after the embeddings and after each layer.

        States are [batch, tokens, hidden] each. Given `targets`, a task by token may leave out the outputs of tokens
        that have no target.
        """
        result = model(**model_inputs(batch), output_hidden_states=hidden)
        return result.logits, result.hidden_states if hidden else ()

    def read(self, raw: Array, example: Example) -> Array:
        """Read a row's output from its raw output, which may have padding at its end."""
        return raw

    def among(self, outputs: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Reduce a dense model's raw outputs to a vocabulary that has only these of its tokens."""
        return outputs

    def exportable(self, model: PreTrainedModel) -> nn.Module:
        """Make a module whose only outputs are `unread_names` and then `output_names`."""
        module: nn.Module = model
        return module


class Losses(ABC):
    """Compute what training and gradient criteria lower, from batches of raw outputs."""

    @abstractmethod
    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        """Compute the training loss over the rows; 0 if no row has a target."""

    @abstractmethod
    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute the mean distance over the rows of a student's and a teacher's raw outputs."""

    @abstractmethod
    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Compute what gradient criteria differentiate if there are no labels, summed over the rows.

        The divergence of the outputs from themselves has a gradient of 0. This loss is therefore a random function of
        the outputs, whose squared gradients average to the divergence's curvature.
        """


class Measurement(ABC):
    """Compare rows' outputs with references, and with each other."""

    @property
    @abstractmethod
    def metric_name(self) -> str:
        """Name the primary metric; a higher value is better."""

    @abstractmethod
    def references(self, table: Table, *, where: str) -> Sequence[Any] | None:
        """Give what outputs are compared with, one reference for each row; None: the dense model's outputs.

        Args:
            table: The rows and their labels.
            where: The name of the table in a message.

        Raises:
            DataError: The model doesn't have a row's label, or the label doesn't fit the row.
        """

    @abstractmethod
    def statistics(self, outputs: Sequence[Array], references: Sequence[Any]) -> Array:
        """Compute the figures of each row that the metrics are made of, [rows, statistics].

        Rows can then be drawn again without reading their outputs again.
        """

    @abstractmethod
    def summary(self, statistics: Array) -> dict[str, float]:
        """Compute the metrics of some rows, the primary one among them."""

    def metric(self, outputs: Sequence[Array], references: Sequence[Any]) -> float:
        """Compute the primary metric of rows' outputs against their references."""
        return self.summary(self.statistics(outputs, references))[self.metric_name]

    @abstractmethod
    def said(self, output: Array, content: Content) -> dict[str, Any]:
        """Give what a row's output says, in the form of a `run.py`'s answer, or of what `heard` makes of one."""

    @abstractmethod
    def same_answer(self, a: Array, b: Array) -> bool:
        """Tell whether two outputs of a row lead to the same answer, or to values that hardly differ."""

    def values(self, output: Array) -> Array:
        """Give the numbers in a row's output whose distance says how nearly two models agree."""
        return output


class Packaging(ABC):
    """Describe how rows are read, for a package and its card."""

    def asked(self, content: Content, reader: Reader) -> Content | None:
        """Give a row of the data as run.py takes it to answer what the metric asks of the row; None: it can't be given so."""
        return content

    def heard(self, answer: dict[str, Any], content: Content, reader: Reader) -> dict[str, Any]:
        """Give what `said` of a row should equal in run.py's answer to what was `asked`."""
        return answer

    @abstractmethod
    def golden(self, content: Content, reader: Reader) -> Any:
        """Give a row of the data as a user of the package would give it to run.py."""

    @abstractmethod
    def example_inputs(self, reader: Reader) -> tuple[str, ...]:
        """Give the inputs that a package's card gives to run.py in its example."""

    @abstractmethod
    def reading(self, reader: Reader) -> dict[str, JsonValue]:
        """Give the settings in edgeprune.json that the package's preprocess.py needs."""

    @abstractmethod
    def reading_notes(self, reader: Reader) -> str:
        """Write a sentence for the package's card about how rows are read."""


class Task(RowEncoding, Computation, Losses, Measurement, Packaging):
    """Do one task for one model's labels, with all roles together."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @classmethod
    @abstractmethod
    def resolve(cls, source: Source) -> TaskSpec:
        """Resolve the task for one model and its data.

        Raises:
            DataError: The labels can't be learned from, or an image can't be read.
        """

    @property
    def kind(self) -> Literal["text", "image"]:
        """Say whether a row is a text or an image."""
        return "image" if self.spec.task in IMAGE_TASKS else "text"

    def linear_baseline(
        self, train: Table, train_references: Sequence[Any], test: Table, test_references: Sequence[Any]
    ) -> float | None:
        """Compute the metric of a linear model of plain features on the same rows; None: it makes no sense here."""
        return None
