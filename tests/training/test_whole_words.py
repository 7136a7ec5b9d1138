"""edgeprune/training/whole_words.py: the tokens that are whole words, and the words in texts."""

import pytest

from edgeprune.training.whole_words import other_words, standing_words, whole_words, word_in
from tests.support.trained_tokenizers import KINDS, decoding


@pytest.mark.parametrize("kind", KINDS)
def test_whole_words_are_letters_that_the_tokenizer_reads_as_one_token(kind: str):
    tokenizer = decoding(kind)
    found = whole_words(tokenizer)
    assert ({"a"} if kind == "Unigram" else {"film", "good", "story", "with"}) <= set(found.values())
    assert len(set(found.values())) == len(found)
    for token, word in found.items():
        assert tokenizer(f"so {word} !", add_special_tokens=False)["input_ids"].count(token) >= 1
        assert word.isalpha()
    assert not set(found) & set(tokenizer.all_special_ids)
    pieces = {token for name, token in tokenizer.get_vocab().items() if name.startswith("##")}
    assert not set(found) & pieces
    assert bool(pieces) is (kind == "WordPiece")


@pytest.mark.parametrize(
    ("chunk", "word"),
    [
        ("(film),", "film"), ("film-good", "film-good"), ("'film'", "film"), ("'s", ""), ("\N{RIGHT SINGLE QUOTATION MARK}s", ""),
        ("...", ""), ("$5", "5"),
    ],
)  # fmt: skip
def test_signs_around_a_word_are_no_part_of_it(chunk: str, word: str):
    assert word_in(chunk) == word


def test_words_stand_alone_in_one_text_or_in_both():
    tokenizer = decoding("WordPiece")
    whole = whole_words(tokenizer)
    found = standing_words(tokenizer, whole, ["the goodness ; (Film)", ("a plot's", "good film-story")])
    assert {word: whole[token] for word, token in found.items()} == {
        "Film": "film", "the": "the", "a": "a", "good": "good",
    }  # fmt: skip


def test_other_words_are_so_many_and_not_the_word_in_other_letters():
    whole = {number: f"word{number}" for number in range(30)} | {0: "fine", 3: "FINE"}
    assert other_words(0, range(30), whole) == [1, 2, *range(4, 17)]
