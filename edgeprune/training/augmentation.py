"""Alter training texts: put them together from pieces, or replace words. A teacher says what is right for them.

A pruned model imitates its teacher closely on the texts that it was trained on, and less closely on other texts. New
texts need no labels if a teacher answers. Pieces of real texts stay close to the texts that the model will be given.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np

from edgeprune.data.table import Content, Text
from edgeprune.models.reader import Reader
from edgeprune.tasks.example import Example
from edgeprune.tasks.roles import RowEncoding
from edgeprune.training.word_replacement import WordReplacement

__all__ = ["Augmentation"]

_SHORTEST_PIECE = 0.3
"""The shortest piece of a text, as a share of its words."""


class Augmentation:
    """Draw altered texts. A draw depends on seed, epoch and row alone.

    Args:
        task: A task on whole texts, or on pairs of whole texts.
        reader: Makes the model's inputs.
        contents: The training texts.
        share: The share of an epoch's rows that are put together from pieces.
        seed: The seed of the draws.
        replacement: Replaces words in the texts, whether these are put together or not. None: no word is replaced.
    """

    def __init__(
        self,
        task: RowEncoding,
        reader: Reader,
        contents: Sequence[Content],
        *,
        share: float,
        seed: int,
        replacement: WordReplacement | None = None,
    ) -> None:
        self._task = task
        self._reader = reader
        self._contents = contents
        self._share = share
        self._seed = seed
        self._replacement = replacement

    def draw(self, row: int, epoch: int) -> Example | None:
        """Draw a text without a target to take the place of a row's own text. None: the row stays as it is.

        Words are replaced before pieces are taken, so that every word is seen in its own text.
        """
        generator, rows = np.random.default_rng((self._seed, epoch, row)), [row]
        is_of_pieces = bool(generator.random() < self._share)
        if is_of_pieces:
            rows.append(int(generator.integers(len(self._contents))))
        texts = [cast("Text", self._contents[one]) for one in rows]
        if self._replacement is not None:
            numbered = list(zip(rows, texts, strict=True))
            texts = self._replacement.draw(numbered, np.random.default_rng((self._seed, epoch, row, 1)))
        if is_of_pieces:
            text = _of_pieces(texts[0], texts[1], generator)
        elif texts[0] != self._contents[row]:
            text = texts[0]
        else:
            return None
        return self._task.encode(self._reader, [text])[0]


def _of_pieces(own: Text, other: Text, generator: np.random.Generator) -> Text:
    """Put a text together from two, or each text of a pair."""
    if isinstance(own, tuple) and isinstance(other, tuple):
        first, second = (_put_together(a, b, generator) for a, b in zip(own, other, strict=True))
        return first, second
    return _put_together(str(own), str(other), generator)


def _put_together(own: str, other: str, generator: np.random.Generator) -> str:
    """Take a piece of one text, a piece of the other text, or a piece of both, one after the other."""
    pieces = (own,), (other,), (own, other), (own, other)
    return " ".join(_piece(text, generator) for text in pieces[generator.integers(len(pieces))])


def _piece(text: str, generator: np.random.Generator) -> str:
    words = text.split()
    if not words:
        return text
    length = int(generator.integers(max(1, round(_SHORTEST_PIECE * len(words))), len(words) + 1))
    start = int(generator.integers(len(words) - length + 1))
    return " ".join(words[start : start + length])
