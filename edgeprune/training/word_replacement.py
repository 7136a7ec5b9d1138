"""Replace words of texts by their neighbours in the dense model's own input embedding.

TinyBERT (https://arxiv.org/abs/1909.10351, algorithm 1) draws words from a masked language model and from GloVe's
vectors. The input embedding needs neither. The number of neighbours, and the share of words that are replaced by default,
are TinyBERT's.

Only whole words take part: words that stand alone in the texts and have a token of their own. What takes a word's place is
such a word too. Words that are spelt in several tokens, numbers, and what has a sign inside (`don't`) or begins with an
apostrophe (`'s`) stay as they are.

    replacement = WordReplacement(tokenizer, teacher.embedding, contents, texts=0.5, words=0.4)
    replacement.draw("a fine film", np.random.default_rng(0))    # "a superb film"
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from edgeprune.base.errors import UsageError
from edgeprune.data.table import Text, flat

__all__ = ["WordReplacement", "nearest", "whole_words"]

_NEIGHBOURS = 15
_SPELLINGS = 4
"""How many of the nearest tokens may be the word itself, in capital letters or small ones."""
_WORDS_AT_ONCE = 10_000
_ROWS_AT_ONCE = 256
_CHUNK = re.compile(r"\S+")
_APOSTROPHES = ("'", "\N{RIGHT SINGLE QUOTATION MARK}")


class WordReplacement:
    """Draw texts in which some words are others. A draw depends on the text and the generator alone.

    Args:
        tokenizer: Makes the model's inputs.
        embedding: A row for each token of the tokenizer, [tokens, size].
        contents: The training texts, whose words are looked up.
        texts: The share of texts in which words are replaced.
        words: The share of such a text's whole words that are replaced.

    Raises:
        UsageError: No word of the texts could be replaced.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        embedding: torch.Tensor,
        contents: Sequence[Text],
        *,
        texts: float,
        words: float,
    ) -> None:
        self._texts = texts
        self._words = words
        whole = whole_words(tokenizer)
        found = sorted({_word(chunk) for text in flat(contents) for chunk in _CHUNK.findall(text)})
        token_of = {word: token for word, token in _single_tokens(tokenizer, found) if token in whole}
        standing = sorted(set(token_of.values()))
        near = nearest(embedding, standing, {token: whole[token] for token in standing})
        self._others = {word: others for word, token in token_of.items() if (others := near[token])}
        if not self._others:
            raise UsageError(
                "stages.finetune.replace takes words that are single tokens of the tokenizer, but no word of the training "
                "texts is one that has neighbours; set it to null"
            )

    def draw(self, text: Text, generator: np.random.Generator) -> Text:
        """Replace words in a text, or in both texts of a pair; or give it back as it is."""
        if generator.random() >= self._texts:
            return text
        if isinstance(text, tuple):
            first, second = (self._replaced(one, generator) for one in text)
            return first, second
        return self._replaced(text, generator)

    def _replaced(self, text: str, generator: np.random.Generator) -> str:
        def other(chunk: re.Match[str]) -> str:
            word = _word(chunk[0])
            if word not in self._others or generator.random() >= self._words:
                return chunk[0]
            others = self._others[word]
            before, _, after = chunk[0].partition(word)
            return f"{before}{others[generator.integers(len(others))]}{after}"

        return _CHUNK.sub(other, text)


def whole_words(tokenizer: PreTrainedTokenizerFast) -> dict[int, str]:
    """Find the tokens that are whole words: letters alone, which the tokenizer reads as this one token after a space."""
    vocabulary = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    words = {token: tokenizer.backend_tokenizer.decode([token]).strip() for token in vocabulary}
    spelt = {token: word for token, word in words.items() if word and all(map(_of_a_word, word))}
    read = dict(_single_tokens(tokenizer, sorted(set(spelt.values()))))
    return {token: word for token, word in spelt.items() if read.get(word) == token}


def nearest(embedding: torch.Tensor, tokens: Sequence[int], among: Mapping[int, str]) -> dict[int, list[str]]:
    """Find the words whose rows have the largest cosines to a token's row, the nearest first.

    A word that is the token's own in other letters (`Fine`, `FINE`) is left out. The products are computed in blocks of
    rows, so that no [tokens, tokens] matrix is in memory.

    Args:
        embedding: A row for each token, [tokens, size].
        tokens: The tokens whose neighbours are looked for. They are among `among`.
        among: The words that may be neighbours, by token.

    Returns:
        For each of `tokens`, at most 15 words.
    """
    candidates, names = list(among), list(among.values())
    rows = functional.normalize(embedding[candidates].float(), dim=-1)
    place = {token: position for position, token in enumerate(candidates)}
    count = min(_NEIGHBOURS + _SPELLINGS, len(candidates))
    found = {}
    for start in range(0, len(tokens), _ROWS_AT_ONCE):
        block = tokens[start : start + _ROWS_AT_ONCE]
        cosines = rows[[place[token] for token in block]] @ rows.T
        for token, positions in zip(block, cosines.topk(count).indices.tolist(), strict=True):
            others = [names[position] for position in positions]
            own = among[token].casefold()
            found[token] = [word for word in others if word.casefold() != own][:_NEIGHBOURS]
    return found


def _single_tokens(tokenizer: PreTrainedTokenizerFast, words: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Give the token of each word that is one token in the middle of a text."""
    for start in range(0, len(words), _WORDS_AT_ONCE):
        some = words[start : start + _WORDS_AT_ONCE]
        read = tokenizer([f" {word}" for word in some], add_special_tokens=False)["input_ids"]
        yield from ((word, tokens[0]) for word, tokens in zip(some, read, strict=True) if len(tokens) == 1)


def _word(chunk: str) -> str:
    """Take the punctuation and other signs off both ends of what stands between two spaces; "": it is a piece of a word."""
    start, end = 0, len(chunk)
    if chunk[0] in _APOSTROPHES and chunk[-1] not in _APOSTROPHES:
        return ""
    while start < end and _is_sign(chunk[start]):
        start += 1
    while end > start and _is_sign(chunk[end - 1]):
        end -= 1
    return chunk[start:end]


def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _of_a_word(character: str) -> bool:
    """Tell letters, and the marks that belong to them, from everything else."""
    return unicodedata.category(character)[0] in "LM"
