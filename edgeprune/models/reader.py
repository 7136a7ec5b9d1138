"""Define how rows of data become a model's inputs: texts by a tokenizer, images by an image processor.

Checkpoints, graphs and packages carry their reader's files. The reader makes every batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from pydantic import JsonValue
from transformers import PreTrainedConfig

from edgeprune.data.images import ImageFile

__all__ = ["Array", "Encoding", "Inputs", "Reader", "unpadded"]

Array = npt.NDArray[Any]
Encoding = dict[str, list[int]]
"""One text's `input_ids`, `attention_mask` …, [tokens] each, not padded."""
Inputs = Encoding | ImageFile
"""One row that a batch can be made of: a tokenized text, or an image."""


class Reader(ABC):
    """Turn rows into batches, for one modality."""

    inputs: tuple[str, ...]
    """Names of the model's inputs."""
    doubt: str | None = None
    """A sentence for the user, where the reader's files may not be meant as they are read."""

    def inputs_of(self, *, pair: bool) -> tuple[str, ...]:
        """Name the inputs that the model needs for rows of one text or image, or of two texts that belong together."""
        return self.inputs

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the reader's files."""

    @abstractmethod
    def fit_to(self, config: PreTrainedConfig, *, tokens: int | None = None) -> None:
        """Leave out inputs that the model doesn't have.

        Args:
            config: The model's.
            tokens: Rows of a pruned model's embedding; None: as many as the config says.

        Raises:
            ModelError: The model doesn't take what this reader gives.
        """

    @abstractmethod
    def length(self, row: Inputs) -> int:
        """Count the tokens of a row, which bound the size of a batch."""

    @abstractmethod
    def collate(self, rows: Sequence[Inputs], *, full: bool = False) -> dict[str, Array]:
        """Make a batch of the model's inputs, [batch, …] each.

        Args:
            rows: One or more rows.
            full: Whether the batch is as long as inputs ever are, not only as long as the longest of these rows.
        """

    @abstractmethod
    def varied(self, rows: Sequence[Inputs], most_tokens: int, longest: int | None) -> Iterator[dict[str, Array]]:
        """Yield batches that differ as much as inputs can. Parity is checked on these batches.

        Args:
            rows: One or more rows.
            most_tokens: The most tokens of a batch, padding included.
            longest: The most tokens that the model takes; None if all its inputs have the same size.
        """

    @abstractmethod
    def timed(self, rows: Sequence[Inputs], number: int) -> dict[str, JsonValue]:
        """Describe a batch in the way that `agent.py` is told to time it. `number` tells batches apart."""


def unpadded(states: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Turn [batch, tokens, …] into [tokens of all rows, …], without padding. Images have no padding."""
    mask = batch.get("attention_mask")
    return states.flatten(0, 1) if mask is None else states[mask.bool()]
