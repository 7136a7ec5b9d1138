"""What makes a model's inputs of a row of data: a tokenizer of a text, an image processor of an image.

Checkpoints, graphs and packages carry their reader's files; every batch is made by it.
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
"""One row as batches are made of it."""


class Reader(ABC):
    """Rows to batches, in one modality."""

    inputs: tuple[str, ...]
    """Names of the model's inputs."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the reader's files."""

    @abstractmethod
    def require_fit(self, config: PreTrainedConfig) -> None:
        """Raises ModelError where the model doesn't take what this reader gives."""

    @abstractmethod
    def length(self, row: Inputs) -> int:
        """Tokens of a row: what bounds a batch."""

    @abstractmethod
    def collate(self, rows: Sequence[Inputs], *, full: bool = False) -> dict[str, Array]:
        """A batch of the model's inputs, [batch, …] each.

        Args:
            rows: One or more.
            full: Whether it is as long as inputs ever are, not only as the longest of these rows.
        """

    @abstractmethod
    def varied(self, rows: Sequence[Inputs], most_tokens: int, longest: int | None) -> Iterator[dict[str, Array]]:
        """Batches that differ as much as inputs can: what parity is checked on.

        Args:
            rows: One or more.
            most_tokens: Of a batch, padding included.
            longest: Most tokens that the model takes; None: its inputs have one size.
        """

    @abstractmethod
    def timed(self, rows: Sequence[Inputs], number: int) -> dict[str, JsonValue]:
        """A batch as `agent.py` is told to time it; `number` tells batches apart."""


def unpadded(states: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """[batch, tokens, …] to [tokens of all rows, …], padding left out; images have none."""
    mask = batch.get("attention_mask")
    return states.flatten(0, 1) if mask is None else states[mask.bool()]
