"""Define what a pruning method is given: the model that it changes, and what it may ask about the task and the data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from transformers import PreTrainedModel

from edgeprune.data.table import Content
from edgeprune.models.reader import Reader
from edgeprune.models.record import PruningRecord
from edgeprune.pruning.importance import Batch, Scores
from edgeprune.pruning.layer_checks import check_one_a_layer

__all__ = ["Context", "Pruned", "by_layer"]


@dataclass
class Pruned:
    """Hold the model that is being pruned; every method changes it in place."""

    model: PreTrainedModel
    record: PruningRecord
    reader: Reader
    scores: dict[int, Scores] = field(default_factory=dict)
    """Unit scores, by the number of the step that computed them."""
    facts: dict[str, float] = field(default_factory=dict)
    """Other figures that the steps found, for the manifest."""


class Context(Protocol):
    """Give a pruning method the task and the data. Rows are made by the reader that the model has now."""

    seed: int
    contents: Sequence[Content]
    """The training texts or images."""
    dense: PruningRecord
    """The record of the dense model, which has all layers and units."""
    checkpoint_digest: str
    """SHA-256 of the weights that the first step is given."""

    @property
    def corpus(self) -> Sequence[Content]:
        """The training texts, and the texts without labels: what tokens are counted on."""

    def dense_model(self) -> PreTrainedModel:
        """Load the dense model."""

    def batches(self, samples: int, *, skip: int = 0, size: int | None = None) -> Iterator[Batch]:
        """Draw training rows by the seed, and yield them in batches.

        Args:
            samples: How many rows are drawn in all.
            skip: How many of the drawn rows are left out: the first ones, which are those of a smaller `samples`.
            size: Rows in a batch. None: a batch has rows of similar length, and a bounded number of padded tokens.
        """

    def dense_batch(self, batch: Batch) -> Batch:
        """Return the same tokens under the dense model's ids."""

    def run(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Compute the model's outputs."""

    def states(self, model: PreTrainedModel, batch: Batch) -> tuple[torch.Tensor, ...]:
        """Compute the token states after the embeddings and after each layer, [batch, tokens, hidden] each."""

    def loss(self, batch: Batch, signal: Literal["auto", "labels", "divergence"]) -> torch.Tensor:
        """Compute what gradient criteria differentiate, summed over the batch."""

    def divergence(self, batch: Batch, outputs: torch.Tensor, wanted: torch.Tensor, *, temperature: float) -> float:
        """Compute the mean distance over the batch's rows of raw outputs from those that are wanted."""

    def metric(self, samples: int) -> float:
        """Compute the task's metric for the model as it is now, on so many rows of the selection split."""

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tell how far the work is."""

    def note(self, message: str) -> None:
        """Tell the user something that the figures alone don't say."""


def by_layer(values: float | tuple[float, ...], places: list[int], layers: int, name: str) -> float | tuple[float, ...]:
    """Pick a step's values for the layers that are left. One value for all layers stays one value.

    Args:
        values: One value, or one value for each layer of the dense model.
        places: Positions in the dense model of the layers that are left.
        layers: The number of layers in the dense model.
        name: The step's key, for the message.

    Raises:
        UsageError: The number of values isn't the number of layers in the dense model.
    """
    if not isinstance(values, tuple):
        return values
    check_one_a_layer(values, f"stages.prune: {name}", layers)
    return tuple(values[place] for place in places)
