"""Find the words that are nearest to a word in the dense model's own input embedding.

TinyBERT (https://arxiv.org/abs/1909.10351, algorithm 1) takes the neighbours in GloVe's vectors, or asks a masked language
model. The input embedding needs neither.
"""

from collections.abc import Mapping, Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from edgeprune.data.table import Text
from edgeprune.training.whole_words import RANKED, no_word_to_replace, other_words, standing_words, whole_words
from edgeprune.training.word_replacement import Substitutes

__all__ = ["Neighbours", "nearest"]

_ROWS_AT_ONCE = 256


class Neighbours(Substitutes):
    """Hold the nearest words of each word. What takes a word's place stands alone in the texts too.

    Args:
        tokenizer: Makes the model's inputs.
        embedding: A row for each token of the tokenizer, [tokens, size].
        contents: The training texts, whose words are looked up.

    Raises:
        UsageError: No word of the texts could be replaced.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, embedding: torch.Tensor, contents: Sequence[Text]) -> None:
        whole = whole_words(tokenizer)
        token_of = standing_words(tokenizer, whole, contents)
        standing = sorted(set(token_of.values()))
        near = nearest(embedding, standing, {token: whole[token] for token in standing})
        self._others = {word: others for word, token in token_of.items() if (others := near[token])}
        if not self._others:
            raise no_word_to_replace(" that has neighbours")

    def of(self, row: int, side: int, words: Sequence[str]) -> Sequence[Sequence[str]]:
        return [self._others.get(word, ()) for word in words]


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
    candidates = list(among)
    rows = functional.normalize(embedding[candidates].float(), dim=-1)
    place = {token: position for position, token in enumerate(candidates)}
    count = min(RANKED, len(candidates))
    found = {}
    for start in range(0, len(tokens), _ROWS_AT_ONCE):
        block = tokens[start : start + _ROWS_AT_ONCE]
        cosines = rows[[place[token] for token in block]] @ rows.T
        for token, positions in zip(block, cosines.topk(count).indices.tolist(), strict=True):
            ranked = [candidates[position] for position in positions]
            found[token] = [among[other] for other in other_words(token, ranked, among)]
    return found
