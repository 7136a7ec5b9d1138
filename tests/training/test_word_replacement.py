"""edgeprune/training/word_replacement.py: which words of a text are replaced, how often, and by what."""

import re

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from edgeprune.data.table import Text
from edgeprune.training.whole_words import whole_words
from edgeprune.training.word_neighbours import Neighbours, nearest
from edgeprune.training.word_replacement import WordReplacement
from tests.support.trained_tokenizers import CORPUS, decoding


def replacement(
    kind: str = "WordPiece", *, texts: float = 1.0, words: float = 1.0, contents: tuple[Text, ...] = ()
) -> tuple[WordReplacement, PreTrainedTokenizerFast]:
    tokenizer = decoding(kind)
    embedding = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(0))
    return WordReplacement(Neighbours(tokenizer, embedding, contents or CORPUS), texts=texts, words=words), tokenizer


def drawn(altering: WordReplacement, text: Text, *seeds: int) -> list[Text]:
    return [altering.draw([(0, text)], np.random.default_rng(seed))[0] for seed in seeds or range(50)]


@pytest.mark.parametrize("kind", ["WordPiece", "BPE"])
def test_words_give_way_to_their_neighbours_and_everything_else_stays(kind: str):
    altering, tokenizer = replacement(kind)
    embedding = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(0))
    alone = set(" ".join(CORPUS).split())
    whole = {token: word for token, word in whole_words(tokenizer).items() if word in alone}
    token = next(token for token, word in whole.items() if word == "film")
    near = nearest(embedding, [token], whole)[token]
    found = drawn(altering, "  (film), 1999\tfilm-good ;", *range(300))
    assert {re.fullmatch(r"  \((\w+)\), 1999\tfilm-good ;", str(text))[1] for text in found} == set(near)  # type: ignore[index]


def test_words_of_several_tokens_are_never_touched():
    altering, tokenizer = replacement(contents=("good goodness ; stale film",))
    assert len(tokenizer("goodness", add_special_tokens=False)["input_ids"]) > 1
    for text in drawn(altering, "good goodness ; film"):
        first, second, sign, last = str(text).split(" ")
        assert (second, sign) == ("goodness", ";")
        assert first != "good"
        assert last != "film"


def test_a_draw_depends_on_the_generator_alone():
    one, two = replacement(words=0.5)[0], replacement(words=0.5)[0]
    assert drawn(one, CORPUS[0]) == drawn(two, CORPUS[0])
    assert len(set(drawn(one, CORPUS[0]))) > 10


@pytest.mark.parametrize(("texts", "words"), [(0.3, 1.0), (1.0, 0.3)])
def test_so_large_a_share_of_texts_and_of_words_is_replaced(texts: float, words: float):
    altering, _ = replacement(texts=texts, words=words)
    own = CORPUS[0].split()
    changed = [
        [word != old for word, old in zip(str(text).split(), own, strict=True)]
        for text in drawn(altering, CORPUS[0], *range(400))
    ]
    assert np.mean([any(row) for row in changed]) == pytest.approx(
        texts if texts < 1 else 1 - (1 - words) ** len(own), abs=0.06
    )
    assert np.mean([row for row in changed if any(row)]) == pytest.approx(words, abs=0.06)


def test_both_texts_of_a_pair_are_altered():
    altering, _ = replacement(contents=(("good film", "good plot"),))
    for first, second in drawn(altering, ("good film", "good plot")):
        for old, new in ((["good", "film"], first.split()), (["good", "plot"], second.split())):
            assert all(one != other for one, other in zip(old, new, strict=True))


def test_texts_that_belong_together_are_all_altered_or_none_of_them():
    altering, _ = replacement(texts=0.5)
    changed = {
        tuple(
            new != old
            for new, old in zip(altering.draw([(0, CORPUS[0]), (1, CORPUS[1])], generator), CORPUS, strict=False)
        )
        for generator in map(np.random.default_rng, range(20))
    }
    assert changed == {(True, True), (False, False)}
