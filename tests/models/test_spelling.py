"""edgeprune/models/spelling.py"""

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from edgeprune.models.spelling import Spelling, spelling_of
from tests.support.nasty_texts import nasty_texts


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    found = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return found


@pytest.fixture(scope="module")
def spelling(tokenizer: Tokenizer) -> Spelling:
    return spelling_of(tokenizer)


def spelt(spelling: Spelling, text: str) -> list[str]:
    """The words of a text by the table alone."""

    def one(character: str) -> str:
        if any(ord(character) in span for span in spelling.dropped):
            return ""
        if any(ord(character) in span for span in spelling.parted):
            return f" {character} "
        return spelling.written.get(character, character)

    return [word for word in "".join(map(one, text)).split(" ") if word]


def test_one_table_says_what_the_normalizer_and_the_pre_tokenizer_do(tokenizer: Tokenizer, spelling: Spelling) -> None:
    for text in nasty_texts():
        words = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        assert spelt(spelling, text) == [word for word, _ in words], text


@pytest.mark.parametrize(
    ("character", "written"),
    [("É", "e"), ("\t", " "), ("\0", ""), (".", " . "), ("İ", "i"), ("a", None), ("0", None), ("ß", None)],
)
def test_characters(spelling: Spelling, character: str, written: str | None) -> None:
    assert spelling.written.get(character) == written


def test_large_neighbourhoods_are_ranges(spelling: Spelling) -> None:
    assert range(0xE000, 0xF900) in spelling.dropped
    assert range(0x4E00, 0xA000) in spelling.parted
    assert spelling.in_ranges("a漢")
    assert not spelling.in_ranges("a.é")
    assert spelling.kept("aZ0.漢") == "a0"
