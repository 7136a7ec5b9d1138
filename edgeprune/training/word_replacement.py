"""Replace words of texts by others, which are known for each word or for each place.

TinyBERT (https://arxiv.org/abs/1909.10351, algorithm 1) does so to have more texts for a distillation. The share of words
that are replaced by default is TinyBERT's.

    replacement = WordReplacement(Neighbours(tokenizer, teacher.embedding, contents), texts=0.5, words=0.4)
    replacement.draw([(0, "a fine film")], np.random.default_rng(0))    # ["a superb film"]
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from edgeprune.data.table import Text
from edgeprune.training.whole_words import CHUNK, word_in

__all__ = ["Substitutes", "WordReplacement"]


class Substitutes(ABC):
    """Know the words that may take a word's place."""

    @abstractmethod
    def of(self, row: int, side: int, words: Sequence[str]) -> Sequence[Sequence[str]]:
        """Give for each word of a text those that may take its place; none: it stays.

        Args:
            row: The number of the text, or of the pair of texts.
            side: Which text of a pair it is, 0 or 1; 0 for one text.
            words: All that stands between spaces in it, without the signs around.
        """


class WordReplacement:
    """Draw texts in which some words are others. A draw depends on the texts and the generator alone.

    Args:
        substitutes: What may take the words' places.
        texts: The share of texts in which words are replaced.
        words: The share of such a text's words that are replaced, among those that have substitutes.
    """

    def __init__(self, substitutes: Substitutes, *, texts: float, words: float) -> None:
        self._substitutes = substitutes
        self._texts = texts
        self._words = words

    def draw(self, rows: Sequence[tuple[int, Text]], generator: np.random.Generator) -> list[Text]:
        """Replace words in texts that belong together, in both texts of pairs; or give all of them back as they are.

        Args:
            rows: The texts, with the numbers of their rows.
            generator: What is drawn from.
        """
        if generator.random() >= self._texts:
            return [text for _, text in rows]
        return [self._replaced(row, text, generator) for row, text in rows]

    def _replaced(self, row: int, text: Text, generator: np.random.Generator) -> Text:
        if isinstance(text, tuple):
            first, second = (self._in_one(row, side, one, generator) for side, one in enumerate(text))
            return first, second
        return self._in_one(row, 0, text, generator)

    def _in_one(self, row: int, side: int, text: str, generator: np.random.Generator) -> str:
        chunks = CHUNK.findall(text)
        words = [word_in(chunk) for chunk in chunks]
        new = []
        for chunk, word, others in zip(chunks, words, self._substitutes.of(row, side, words), strict=True):
            if not others or generator.random() >= self._words:
                new.append(chunk)
                continue
            before, _, after = chunk.partition(word)
            new.append(f"{before}{others[int(generator.integers(len(others)))]}{after}")
        following = iter(new)
        return CHUNK.sub(lambda _: next(following), text)
