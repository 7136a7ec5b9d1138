"""Train a first stage to answer as the dense model does.

A token's row is what is linear in its input embedding, plus a correction of its own: table = E A + D. The first part says
something of tokens that no row has, too, because similar words have similar embeddings. After the training both are one
table. Pairs have corrections alone. The loss is the cross entropy to the dense model's softened probabilities (Hinton,
Vinyals and Dean, https://arxiv.org/abs/1503.02531), lowered by Adam; it takes seconds on one thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from edgeprune.cascade.bag import Bag, Tokens, places_of
from edgeprune.models.reader import Array

__all__ = ["Lesson", "train_bag"]

_EPOCHS = 10
_BATCH = 64
_TEMPERATURE = 4.0
_LEARNING_RATE = 0.02
_EMBEDDING_LEARNING_RATE = 0.005
_EMBEDDING_NORM = 4.0
"""The mean norm that embeddings are scaled to, so that one learning rate fits every model."""


@dataclass(frozen=True)
class Lesson:
    """Hold what a first stage learns from."""

    texts: Sequence[Tokens]
    """The tokens of each text, without padding."""
    teacher: Array
    """The dense model's logits, [texts, labels]."""
    embedding: Array
    """The dense model's input embedding, [vocabulary, hidden], in the order of the tokens of `texts`."""


def train_bag(lesson: Lesson, *, pair_bits: int, seed: int, on_step: Callable[[int, int], None]) -> Bag:
    """Train a first stage.

    Args:
        lesson: The texts, and what the dense model answers.
        pair_bits: Pairs of neighbours share 2^pair_bits rows.
        seed: The seed of the order of the texts.
        on_step: A function that is called with (done, total) epochs.
    """
    vocabulary, labels = len(lesson.embedding), lesson.teacher.shape[1]
    embedding = torch.from_numpy(lesson.embedding.astype(np.float32))
    embedding = embedding - embedding.mean(0)
    embedding *= _EMBEDDING_NORM / embedding.norm(dim=1).mean().clamp(min=1e-6)
    rows = [torch.from_numpy(places_of(tokens, vocabulary, 1 << pair_bits)) for tokens in lesson.texts]
    means = torch.stack(
        [embedding[tokens].sum(0) / len(row) ** 0.5 for tokens, row in zip(lesson.texts, rows, strict=True)]
    )
    targets = functional.softmax(torch.from_numpy(lesson.teacher.astype(np.float32)) / _TEMPERATURE, dim=-1)
    # Rows of the table that no text has stay without a correction, so that only the others are trained.
    seen, flat = torch.unique(torch.cat(rows), return_inverse=True)
    rows = list(torch.split(flat, [len(row) for row in rows]))
    own, bias = (torch.zeros(shape, requires_grad=True) for shape in ((len(seen), labels), (labels,)))
    linear = torch.zeros(embedding.shape[1], labels, requires_grad=True)
    optimizer = torch.optim.Adam(
        [
            {"params": [own, bias], "lr": _LEARNING_RATE},
            {"params": [linear], "lr": _EMBEDDING_LEARNING_RATE},
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 - epoch / _EPOCHS)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(_EPOCHS):
        on_step(epoch, _EPOCHS)
        for batch in torch.split(torch.randperm(len(rows), generator=generator), _BATCH):
            logits = _corrections(own, [rows[row] for row in batch]) + means[batch] @ linear + bias
            loss = functional.cross_entropy(logits / _TEMPERATURE, targets[batch]) * _TEMPERATURE**2
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        schedule.step()
    on_step(_EPOCHS, _EPOCHS)
    table = torch.zeros(vocabulary + (1 << pair_bits), labels)
    with torch.no_grad():
        table[:vocabulary] = embedding @ linear
        table[seen] += own
    return Bag.rounded(table.numpy(), bias.detach().numpy(), vocabulary=vocabulary)


def _corrections(own: torch.Tensor, rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Add up the corrections of each text, over the root of their number, [texts, labels]."""
    counts = torch.tensor([len(row) for row in rows])
    total = functional.embedding_bag(torch.cat(list(rows)), own, counts.cumsum(0) - counts, mode="sum")
    return total / counts.sqrt()[:, None]
