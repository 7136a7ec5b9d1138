"""What every task tells the rest: how it reads rows and outputs, its losses and its metric.

A model gives raw outputs: [labels] or [hidden] a row, or something a token. The task reads of them what doesn't depend on
the tokenizer (a row's output): a model whose vocabulary was pruned is compared with the dense one by these.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from optimum.exporters.tasks import TasksManager
from pydantic import JsonValue
from torch import nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel

from edgeprune.base.errors import DataError
from edgeprune.data.table import Content, SplitName, Table
from edgeprune.models.reader import Array, Inputs, Reader
from edgeprune.tasks import ProblemType, TaskSpec

__all__ = [
    "IGNORED",
    "Array",
    "Batch",
    "Example",
    "Reduction",
    "Source",
    "Task",
    "distinct_labels",
    "drawn_loss",
    "model_inputs",
    "random_signs",
    "softmax_divergence",
]

Batch = dict[str, torch.Tensor]
"""The model's inputs, `targets` where there are any, and `labelled` where not every row has one."""

IGNORED = -100
"""In the targets of a token: no loss is taken there."""

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Example:
    """One row as model, loss and metric see it."""

    inputs: Inputs
    target: Array | None = None
    """What the loss compares the row's raw output with."""
    reads: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    """Where in the raw output a task finds what it reads, in the task's own form; empty: it reads all of it."""


@dataclass(frozen=True)
class Source:
    """What a task is resolved from."""

    folder: Path
    """The model's."""
    config: PreTrainedConfig
    inputs: tuple[str, ...]
    splits: Mapping[SplitName, Table]
    max_length: int | None
    problem_type: ProblemType | None
    note: Callable[[str], None]
    """Tells the user something that was assumed."""

    @property
    def train(self) -> Table:
        """The rows to learn from."""
        return self.splits["train"]

    def has_head(self, suffix: str) -> bool:
        """Whether the checkpoint's class ends in `suffix`: its head is trained for the task."""
        return bool((self.config.architectures or [""])[0].endswith(suffix))


class Task(ABC):
    """One task, for one model's labels."""

    output_names: ClassVar[tuple[str, ...]]
    """Names of the exported graph's outputs; where there are several, they are stacked along a new last axis."""
    kind: ClassVar[Literal["text", "image"]]
    """What its rows are."""
    max_batch_tokens: ClassVar[int] = 2048
    """Most padded tokens that are predicted at once."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    @classmethod
    @abstractmethod
    def resolve(cls, source: Source) -> TaskSpec:
        """The task for one model and its data.

        Raises:
            DataError: Labels that can't be learned from.
        """

    @property
    def auto_class(self) -> Any:
        """transformers' auto class, from optimum's registry."""
        return TasksManager.get_model_class_for_task(self.spec.task, framework="pt", library="transformers")

    def config_overrides(self) -> dict[str, Any]:
        """What a dense model's config gets for this task when it is loaded."""
        labels = dict(enumerate(self.spec.labels))
        return {"id2label": labels, "label2id": {name: number for number, name in labels.items()}} if labels else {}

    def model_arguments(self, model_type: str) -> dict[str, Any]:
        """What the auto class is called with to leave out parts that this task doesn't use."""
        return {}

    # Reading

    @classmethod
    @abstractmethod
    def load_reader(cls, folder: Path, max_length: int | None) -> Reader:
        """What makes this task's inputs, from a model's folder; `max_length` as in `TaskSpec`."""

    @abstractmethod
    def references(self, table: Table, *, where: str) -> Sequence[Any] | None:
        """What outputs are compared with, one a row; None: with the dense model's outputs.

        Args:
            table: Rows and labels.
            where: What an error calls them.

        Raises:
            DataError: A label that the model doesn't have, or that doesn't belong to its row.
        """

    def label_number(self, label: object, where: str) -> int:
        """The position of a label among the model's.

        Raises:
            DataError: It has no such label.
        """
        if str(label) not in self.spec.labels:
            known = ", ".join(self.spec.labels[:20])
            raise DataError(f"{where}: the label {str(label)!r} is not one the model has ({known})")
        return self.spec.labels.index(str(label))

    @abstractmethod
    def encode(
        self, reader: Reader, contents: Sequence[Content], references: Sequence[Any] | None = None
    ) -> list[Example]:
        """Every row as the reader makes it, and with references the targets."""

    def behind_cut(self, examples: Sequence[Example]) -> float:
        """The share of what is asked for that lies behind max_length, out of the model's sight."""
        return 0.0

    def read(self, raw: Array, example: Example) -> Array:
        """A row's output: what the task reads of its raw output, which may have padding at its end."""
        return raw

    # Computing

    def forward(
        self, model: nn.Module, batch: Batch, *, hidden: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Raw outputs, and with `hidden` the states after the embeddings and each layer, [batch, tokens, hidden] each.

        Given `targets`, a task by token may leave out the outputs of tokens that have none.
        """
        result = model(**model_inputs(batch), output_hidden_states=hidden)
        return result.logits, result.hidden_states if hidden else ()

    def rows(self, outputs: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
        """Raw outputs as [rows, classes], those with a target where there are targets; of a softmax each."""
        return outputs

    def label_loss(self, outputs: torch.Tensor, targets: torch.Tensor, reduction: Reduction = "mean") -> torch.Tensor:
        """Training loss over the rows of a batch of raw outputs; 0 where none has a target."""
        classes = targets[targets != IGNORED]
        loss = functional.cross_entropy(self.rows(outputs, targets).float(), classes, reduction="sum")
        return loss if reduction == "sum" else loss / max(1, len(classes))

    def distill_loss(
        self, student: torch.Tensor, teacher: torch.Tensor, temperature: float, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean distance over the rows of a student's and a teacher's raw outputs."""
        return softmax_divergence(self.rows(student, targets), self.rows(teacher, targets), temperature)

    def divergence_loss(
        self, outputs: torch.Tensor, generator: torch.Generator, targets: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Sum over the rows of what gradient criteria differentiate where there are no labels.

        The divergence from these very outputs has no gradient here, so this is a random function of the outputs whose
        squared gradients average to its curvature.
        """
        return drawn_loss(self.rows(outputs, targets), generator)

    def among(self, outputs: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """A dense model's raw outputs as one has them whose vocabulary is these of its tokens."""
        return outputs

    def exportable(self, model: PreTrainedModel) -> nn.Module:
        """A module whose only outputs are `output_names`."""
        module: nn.Module = model
        return module

    # Measuring

    @property
    @abstractmethod
    def metric_name(self) -> str:
        """The primary metric, higher is better."""

    @abstractmethod
    def statistics(self, outputs: Sequence[Array], references: Sequence[Any]) -> Array:
        """[rows, statistics]: what the metrics are made of, so that rows can be drawn again without reading them again."""

    @abstractmethod
    def summary(self, statistics: Array) -> dict[str, float]:
        """The metrics of some rows, the primary one among them."""

    def metric(self, outputs: Sequence[Array], references: Sequence[Any]) -> float:
        """The primary metric of rows' outputs against their references."""
        return self.summary(self.statistics(outputs, references))[self.metric_name]

    @abstractmethod
    def same_answer(self, a: Array, b: Array) -> bool:
        """Whether two outputs of a row lead to the same answer, or to values that hardly differ."""

    def values(self, output: Array) -> Array:
        """The part of a row's output whose distance to another's says how near two models compute."""
        return output

    def linear_baseline(
        self, train: Table, train_references: Sequence[Any], test: Table, test_references: Sequence[Any]
    ) -> float | None:
        """The metric of a linear model of plain features on the same rows; None where that makes no sense."""
        return None

    # Packaging

    @abstractmethod
    def golden(self, content: Content, reader: Reader) -> Any:
        """A row of the data as a user of the package would give it to run.py."""

    @abstractmethod
    def example_inputs(self, reader: Reader) -> tuple[str, ...]:
        """What a package's card gives to run.py."""

    @abstractmethod
    def reading(self, reader: Reader) -> dict[str, JsonValue]:
        """What edgeprune.json says for the package's preprocess.py."""

    @abstractmethod
    def reading_notes(self, reader: Reader) -> str:
        """A sentence about it for the package's card."""


def distinct_labels(labels: Iterable[object]) -> tuple[str, ...]:
    """The distinct labels; whole numbers in their order, anything else alphabetically.

    Raises:
        DataError: There is one only.
    """
    names = {str(label) for label in labels}
    if len(names) < 2:
        raise DataError(
            f"the training rows have one label only ({', '.join(names) or 'none'}); a classifier needs two or more"
        )
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if all(map(str.isdigit, names)) else None))


def model_inputs(batch: Batch) -> Batch:
    """A batch without its targets."""
    return {name: value for name, value in batch.items() if name not in ("targets", "labelled")}


def random_signs(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """+1 or -1 with equal probability, in the shape and type of `like`."""
    return torch.randint(0, 2, like.shape, generator=generator).to(like.dtype) * 2 - 1


def softmax_divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL divergence of softmax outputs [rows, classes] at temperature T, times T²; its mean over the rows, 0 without any.

    Hinton et al., https://arxiv.org/abs/1503.02531.
    """
    divergence = functional.kl_div(
        functional.log_softmax(student.float() / temperature, -1),
        functional.log_softmax(teacher.float() / temperature, -1),
        log_target=True,
        reduction="sum",
    )
    return divergence / max(1, len(student)) * temperature**2


def drawn_loss(outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The summed loss of softmax outputs [rows, classes] on classes drawn from their own probabilities.

    Its squared gradients average to the Fisher information, the curvature of the KL divergence (Martens,
    https://arxiv.org/abs/1412.1193).
    """
    outputs = outputs.float()
    drawn = torch.multinomial(outputs.detach().softmax(-1), 1, generator=generator)[:, 0]
    return functional.cross_entropy(outputs, drawn, reduction="sum")
