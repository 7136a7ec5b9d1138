"""What a pruning method is given: the model it changes, and what it may ask about task and data."""

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
    """The model under work; every method changes it in place."""

    model: PreTrainedModel
    record: PruningRecord
    reader: Reader
    scores: dict[int, Scores] = field(default_factory=dict)
    """Unit scores, by the number of the step that computed them."""
    facts: dict[str, float] = field(default_factory=dict)
    """What else the steps found, for the manifest."""


class Context(Protocol):
    """Task and data as a pruning method sees them; rows are made by the reader that the model has now."""

    seed: int
    contents: Sequence[Content]
    """The training texts or images."""
    dense: PruningRecord
    """Everything that the dense model has."""
    checkpoint_digest: str
    """SHA-256 of the weights that the first step is given."""

    def dense_model(self) -> PreTrainedModel:
        """The dense model."""

    def batches(self, samples: int, *, size: int | None = None) -> Iterator[Batch]:
        """Seeded training rows; `size` a batch, or (None) batches of similar length with bounded padded tokens."""

    def dense_batch(self, batch: Batch) -> Batch:
        """The same tokens under the dense model's ids."""

    def run(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """The model's outputs."""

    def states(self, model: PreTrainedModel, batch: Batch) -> tuple[torch.Tensor, ...]:
        """Token states after the embeddings and after each layer, [batch, tokens, hidden] each."""

    def loss(self, batch: Batch, signal: Literal["auto", "labels", "divergence"]) -> torch.Tensor:
        """Sum over the batch of what gradient criteria differentiate."""

    def metric(self, samples: int) -> float:
        """The task's metric of the model as it is, on so many rows of the selection split."""

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tell how far the work is."""

    def note(self, message: str) -> None:
        """Tell the user something that the figures alone don't say."""


def by_layer(values: float | tuple[float, ...], places: list[int], layers: int, name: str) -> float | tuple[float, ...]:
    """A step's values for the layers that are left; one value for all stays one.

    Args:
        values: One, or one a layer of the dense model.
        places: Positions in the dense model of the layers that are left.
        layers: How many the dense model has.
        name: Of the step's key, for the message.

    Raises:
        UsageError: A list of another length.
    """
    if not isinstance(values, tuple):
        return values
    check_one_a_layer(values, f"stages.prune: {name}", layers)
    return tuple(values[place] for place in places)
