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
    labels: npt.NDArray[np.int64]
    """[rows]."""

    @classmethod
    def of(cls, bag: Bag, texts: Sequence[Tokens], encoder: Array, labels: Sequence[int]) -> "Compared":
        """Ask a first stage about texts that an encoder answered."""
        return cls(bag.logits(texts), encoder, np.asarray(labels, np.int64))

    @property
    def right(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which rows the first stage and which rows the encoder labels rightly, [rows] each."""
        first, encoder = (one.argmax(-1) == self.labels for one in (self.answers, self.encoder))
        return first, encoder

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
        early, (first, encoder) = self.early(threshold), self.right
        lost = encoder[early].astype(np.int64) - first[early]
        return SplitRow(rows=len(early), answered=float(early.mean()), lost=float(lost.sum() / len(early)))
