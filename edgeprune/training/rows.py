"""Give a training its rows, in batches of similar length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from edgeprune.tasks.example import Example
from edgeprune.training.augmentation import Augmentation

__all__ = ["LengthGrouped", "Rows", "TrainingRows"]


@dataclass(frozen=True)
class Rows:
    """Hold encoded rows, and what their outputs are compared with."""

    examples: Sequence[Example]
    references: Sequence[Any] | None
    """One reference for each row. None: there are no labels and no outputs of the dense model, so nothing is trained."""


class TrainingRows(Dataset[Example]):
    """Give the trainer its rows, with augmented texts among them if the pipeline asks for some."""

    def __init__(
        self, examples: Sequence[Example], augmentation: Augmentation | None, epoch: Callable[[], int]
    ) -> None:
        self._examples = examples
        self._augmentation = augmentation
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        altered = self._augmentation.draw(index, self._epoch()) if self._augmentation else None
        return altered or self._examples[index]


class LengthGrouped(Sampler[int]):
    """Order rows into batches of similar length. An epoch's order depends on seed and epoch alone.

    transformers' own sampler draws from the global generator. The generator's state at the start of an epoch depends on
    whether the training was resumed inside the epoch. The epoch is asked for when iteration starts.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch())
        return iter(get_length_grouped_indices(self._lengths, self._batch_size, generator=generator))
