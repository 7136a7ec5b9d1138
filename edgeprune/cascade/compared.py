"""Compare a first stage's answers on one split with the encoder's: who is right, and what a threshold gives and costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprune.cascade.bag import Bag, Tokens, margins
from edgeprune.cascade.records import SplitRow
from edgeprune.models.reader import Array

__all__ = ["Compared"]


@dataclass(frozen=True)
class Compared:
    """Hold both stages' answers to the same rows."""

    answers: Array
    """The first stage's logits, [rows, labels]."""
    encoder: Array
    """The encoder's logits, [rows, labels]."""
    changes: npt.NDArray[np.int64]
    """What an answer of the first stage changes, [rows]: 1 if only the encoder is right, -1 if only the first stage is, else
    0."""

    @classmethod
    def of(cls, bag: Bag, texts: Sequence[Tokens], encoder: Array, labels: Sequence[int]) -> "Compared":
        """Ask a first stage, and compare its answers with the encoder's and with the labels."""
        answers, right = bag.logits(texts), np.asarray(labels)
        changes = (encoder.argmax(-1) == right).astype(np.int64) - (answers.argmax(-1) == right)
        return cls(answers, encoder, changes)

    @property
    def margins(self) -> Array:
        """How sure the first stage is, [rows]."""
        return margins(self.answers)

    def early(self, threshold: float | None) -> npt.NDArray[np.bool_]:
        """Tell which rows the first stage answers, [rows]. Without a threshold it answers none."""
        return np.asarray(self.margins >= np.float32(np.inf if threshold is None else threshold))

    def outputs(self, threshold: float) -> Array:
        """Give the cascade's logits, [rows, labels]."""
        return np.where(self.early(threshold)[:, None], self.answers, self.encoder)

    def row(self, threshold: float | None) -> SplitRow:
        """Say how many rows the first stage answers, and what that costs."""
        early, rows = self.early(threshold), len(self.changes)
        return SplitRow(rows=rows, answered=float(early.mean()), lost=float(self.changes[early].sum() / rows))
