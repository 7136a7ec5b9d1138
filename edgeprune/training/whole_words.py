"""Find the whole words of texts and of a tokenizer: words that stand alone in the texts and have a token of their own.

Words that are spelt in several tokens, numbers, and what has a sign inside (`don't`) or begins with an apostrophe (`'s`)
are none.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

from transformers import PreTrainedTokenizerFast

from edgeprune.base.errors import UsageError
from edgeprune.data.table import Text, flat

__all__ = [
    "CHUNK",
    "MOST_SUBSTITUTES",
    "RANKED",
    "no_word_to_replace",
    "other_words",
    "standing_words",
    "whole_words",
    "word_in",
]

MOST_SUBSTITUTES = 15
"""How many words may take a word's place. The number is TinyBERT's (https://arxiv.org/abs/1909.10351, algorithm 1)."""
_SPELLINGS = 4
"""How many of the first tokens may be the word itself, in capital letters or small ones."""
RANKED = MOST_SUBSTITUTES + _SPELLINGS
"""How many tokens must be ranked, so that enough are left without the word itself."""

CHUNK = re.compile(r"\S+")
"""What stands between two spaces, as `str.split` finds it."""
_WORDS_AT_ONCE = 10_000
_APOSTROPHES = ("'", "\N{RIGHT SINGLE QUOTATION MARK}")


def whole_words(tokenizer: PreTrainedTokenizerFast) -> dict[int, str]:
    """Find the tokens that are whole words: letters alone, which the tokenizer reads as this one token after a space."""
    vocabulary = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    words = {token: tokenizer.backend_tokenizer.decode([token]).strip() for token in vocabulary}
    spelt = {token: word for token, word in words.items() if word and all(map(_of_a_word, word))}
    read = dict(_single_tokens(tokenizer, sorted(set(spelt.values()))))
    return {token: word for token, word in spelt.items() if read.get(word) == token}


def standing_words(
    tokenizer: PreTrainedTokenizerFast, whole: Mapping[int, str], contents: Sequence[Text]
) -> dict[str, int]:
    """Find the words that stand alone in texts and are whole words, with their tokens.

    Args:
        tokenizer: Makes the model's inputs.
        whole: Its whole words, by token.
        contents: The texts.
    """
    found = sorted({word_in(chunk) for text in flat(contents) for chunk in CHUNK.findall(text)})
    return {word: token for word, token in _single_tokens(tokenizer, found) if token in whole}


def no_word_to_replace(why: str) -> UsageError:
    """Say that no word of the training texts can be replaced, and why."""
    return UsageError(
        f"stages.finetune.replace takes words that are single tokens of the tokenizer, but no word of the training texts is one{why}; "
        f"set it to null"
    )


def word_in(chunk: str) -> str:
    """Take the punctuation and other signs off both ends of what stands between two spaces; "": it is a piece of a word."""
    start, end = 0, len(chunk)
    if chunk[0] in _APOSTROPHES and chunk[-1] not in _APOSTROPHES:
        return ""
    while start < end and _is_sign(chunk[start]):
        start += 1
    while end > start and _is_sign(chunk[end - 1]):
        end -= 1
    return chunk[start:end]


def other_words(own: int, ranked: Iterable[int], whole: Mapping[int, str]) -> list[int]:
    """Give the first tokens that are other words than a token's own, which is left out in all letters (`Fine`, `FINE`).

    Args:
        own: The token.
        ranked: Tokens, the best first.
        whole: The words of all of these, by token.
    """
    word = whole[own].casefold()
    return [token for token in ranked if whole[token].casefold() != word][:MOST_SUBSTITUTES]


def _single_tokens(tokenizer: PreTrainedTokenizerFast, words: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Give the token of each word that is one token in the middle of a text."""
    for start in range(0, len(words), _WORDS_AT_ONCE):
        some = words[start : start + _WORDS_AT_ONCE]
        read = tokenizer([f" {word}" for word in some], add_special_tokens=False)["input_ids"]
        yield from ((word, tokens[0]) for word, tokens in zip(some, read, strict=True) if len(tokens) == 1)


def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _of_a_word(character: str) -> bool:
    """Tell letters, and the marks that belong to them, from everything else."""
    return unicodedata.category(character)[0] in "LM"
