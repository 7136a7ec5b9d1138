"""edgeprune/models/wordpiece.py"""

from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from edgeprune.base.errors import ModelError
from edgeprune.models.wordpiece import read_wordpiece, why_not_wordpiece
from tests.support.trained_tokenizers import trained

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "##b": 5}


def of_bert(**changes: object) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    parts = {
        "normalizer": normalizers.BertNormalizer(),
        "pre_tokenizer": pre_tokenizers.BertPreTokenizer(),
        "post_processor": processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
    }
    for name, part in {**parts, **changes}.items():
        setattr(tokenizer, name, part)
    return tokenizer


def test_what_is_read() -> None:
    tokenizer = of_bert()
    tokenizer.add_special_tokens(["[SEP]"])
    tokenizer.add_tokens([AddedToken("TOK", normalized=True), AddedToken("Own", normalized=False)])
    read = read_wordpiece(tokenizer)
    assert read.vocabulary == VOCABULARY
    assert (read.unknown, read.prefix, read.longest_word) == ("[UNK]", "##", 100)
    assert (read.before, read.after) == ((2,), (3,))
    assert read.added == {"[SEP]": 3, "Own": 7}
    assert read.added_after == {"tok": 6}, "as it is written once characters are normalized"
    assert read_wordpiece(tokenizer, split_special_tokens=True).added == {"Own": 7}


def test_a_tokenizer_without_a_template() -> None:
    read = read_wordpiece(of_bert(post_processor=processors.Sequence([])))
    assert (read.before, read.after) == ((), ())


def test_padding_and_truncation_are_not_read() -> None:
    tokenizer = of_bert()
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(2)
    read = read_wordpiece(tokenizer)
    assert (read.before, read.after) == ((2,), (3,))
    assert len(tokenizer.encode("a").ids) == 8, "the tokenizer is as it was"


def test_lower_case_before_is_of_the_kind() -> None:
    before = normalizers.Sequence([normalizers.Lowercase(), normalizers.BertNormalizer(lowercase=False)])
    assert why_not_wordpiece(of_bert(normalizer=before)) is None


def typed() -> Tokenizer:
    template = processors.TemplateProcessing(single="[CLS]:1 $A:1", special_tokens=[("[CLS]", 2)])
    return of_bert(post_processor=template)


def alone() -> Tokenizer:
    tokenizer = of_bert()
    tokenizer.add_tokens([AddedToken("whole", single_word=True)])
    return tokenizer


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda: trained("BPE").backend_tokenizer, "its model is BPE (Lowercase, ByteLevel), not WordPiece"),
        (lambda: trained("Unigram").backend_tokenizer, "its model is Unigram (Lowercase, Metaspace), not WordPiece"),
        (lambda: trained("WordPiece").backend_tokenizer, "its normalizer is Lowercase, not BertNormalizer"),
        (lambda: of_bert(normalizer=normalizers.Sequence([])), "its normalizer is none, not BertNormalizer"),
        (lambda: of_bert(normalizer=normalizers.BertNormalizer(clean_text=False)), "its normalizer keeps control characters (clean_text is false)"),
        (lambda: of_bert(pre_tokenizer=pre_tokenizers.Whitespace()), "its pre-tokenizer is Whitespace, not BertPreTokenizer"),
        (typed, "its template gives a single text another token type than 0"),
        (alone, "its added token 'whole' is found only where it stands alone (single_word)"),
    ],
)  # fmt: skip
def test_other_kinds_are_named(make: Callable[[], Tokenizer], fault: str) -> None:
    tokenizer = make()
    assert why_not_wordpiece(tokenizer) == fault
    with pytest.raises(ModelError, match="not of BERT's kind"):
        read_wordpiece(tokenizer)
