"""Train a first stage on the dense model's answers: soft labels, mixed with the labels of the rows that have some.

The loss is the cross entropy to these targets, lowered by Adam over a table that begins with zeros, so that what no row has
counts nothing. It takes seconds on one thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax
from torch.nn import functional

from edgeprune.cascade.bag import Bag, Tokens, places_of
from edgeprune.models.reader import Array

__all__ = ["Lesson", "train_bag"]

_EPOCHS = 10
_BATCH = 64
_LEARNING_RATE = 0.02
_LABELS = 0.3
"""The weight of a row's own label among its targets; the rest is the dense model's answer."""


@dataclass(frozen=True)
class Lesson:
    """Hold what a first stage learns from."""

    texts: Sequence[Tokens]
    """The tokens of each text, without padding."""
    teacher: Array
    """The dense model's logits, [texts, labels]."""
    labels: Sequence[int]
    """The labels of the first texts; the others have none."""

    @property
    def targets(self) -> Array:
        """Mix probabilities of the labels, [texts, labels]."""
        mixed = softmax(self.teacher.astype(np.float64), axis=-1)
        known = len(self.labels)
        own = np.eye(mixed.shape[1])[np.asarray(self.labels, np.int64)]
        mixed[:known] = (1 - _LABELS) * mixed[:known] + _LABELS * own
        return mixed.astype(np.float32)


def train_bag(
    lesson: Lesson, *, vocabulary: int, pair_bits: int, seed: int, on_step: Callable[[int, int], None]
) -> Bag:
    """Train a first stage.

    Args:
        lesson: The texts and their targets.
        vocabulary: Number of tokens.
        pair_bits: Pairs of neighbours share 2^pair_bits rows.
        seed: The seed of the order of the texts.
        on_step: A function that is called with (done, total) epochs.
    """
    rows = [torch.from_numpy(places_of(tokens, vocabulary, 1 << pair_bits)) for tokens in lesson.texts]
    targets = torch.from_numpy(lesson.targets)
    # Rows of the table that no text has stay zero, so that only the others are trained.
    seen, flat = torch.unique(torch.cat(rows), return_inverse=True)
    rows = list(flat.split([len(row) for row in rows]))
    table = torch.zeros(len(seen), targets.shape[1], requires_grad=True)
    bias = torch.zeros(targets.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([table, bias], lr=_LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(_EPOCHS):
        on_step(epoch, _EPOCHS)
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - epoch / _EPOCHS)
        for batch in torch.randperm(len(rows), generator=generator).split(_BATCH):
            loss = functional.cross_entropy(_logits(table, bias, [rows[row] for row in batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    on_step(_EPOCHS, _EPOCHS)
    whole = np.zeros((vocabulary + (1 << pair_bits), targets.shape[1]), np.float32)
    whole[seen.numpy()] = table.detach().numpy()
    return Bag.rounded(whole, bias.detach().numpy(), vocabulary=vocabulary)


def _logits(table: torch.Tensor, bias: torch.Tensor, rows: Sequence[torch.Tensor]) -> torch.Tensor:
    counts = torch.tensor([len(row) for row in rows])
    starts = counts.cumsum(0) - counts
    total = functional.embedding_bag(torch.cat(list(rows)), table, starts, mode="sum")
    return total / counts.sqrt()[:, None] + bias
