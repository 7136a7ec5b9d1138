"""Answer a text by the sum of rows of a table: one row for each token, and one for each pair of neighbours.

    logits = scale · Σ table[place] / √(number of places) + bias
    place  = token                                  of a token
           = vocabulary + (a · p + b · q) mod 2^k   of a pair of neighbours p q

Pairs share the 2^k rows behind the vocabulary's (the hashing trick, Weinberger et al., https://arxiv.org/abs/0902.2206).
All weights are int8 with one scale. Their sums are whole numbers below 2^24, which float32 adds without rounding, so every
CPU has the same answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprune.models.reader import Array

__all__ = ["FIRST", "SECOND", "Bag", "Tokens", "margins", "places_of"]

FIRST, SECOND = 36313, 27191
"""The factors a and b of a pair's first and second token: odd, so that no bit of a token is lost."""

Tokens = npt.NDArray[np.int64]
"""One text's tokens, [tokens], without padding."""


@dataclass(frozen=True)
class Bag:
    """Hold the first stage of a cascade."""

    table: npt.NDArray[np.int8]
    """[vocabulary + 2^pair_bits, labels]."""
    scale: float
    bias: npt.NDArray[np.float32]
    """[labels]."""
    vocabulary: int
    """Number of tokens, which have the table's first rows."""

    @classmethod
    def rounded(cls, table: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], *, vocabulary: int) -> "Bag":
        """Round a table of float32 to int8 with one scale."""
        scale = float(np.abs(table).max(initial=0.0)) / 127 or 1.0
        return cls(np.round(table / scale).astype(np.int8), scale, bias, vocabulary)

    @property
    def pair_rows(self) -> int:
        """Number of rows that pairs share; a power of two."""
        return len(self.table) - self.vocabulary

    def logits(self, texts: Sequence[Tokens]) -> Array:
        """Answer texts.

        Args:
            texts: The tokens of each text, without padding.

        Returns:
            Logits, [texts, labels].
        """
        return np.stack([self._answered(tokens) for tokens in texts])

    def _answered(self, tokens: Tokens) -> Array:
        places = places_of(tokens, self.vocabulary, self.pair_rows)
        total = self.table[places].astype(np.float32).sum(0) * np.float32(self.scale)
        return np.asarray(total / np.sqrt(np.float32(len(places))) + self.bias)


def places_of(tokens: Tokens, vocabulary: int, pair_rows: int) -> Tokens:
    """Find the rows of the table that a text adds up, [2 · tokens - 1]: its tokens', then its pairs'."""
    pairs = (FIRST * tokens[:-1] + SECOND * tokens[1:]) % pair_rows
    return np.concatenate([tokens, vocabulary + pairs])


def margins(logits: Array) -> Array:
    """Compute how sure answers are, [texts]: the largest logit minus the second largest."""
    highest = np.partition(logits, -2, axis=-1)[:, -2:]
    return np.asarray(highest[:, 1] - highest[:, 0])
