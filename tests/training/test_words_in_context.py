"""edgeprune/training/words_in_context.py: the words that a masked language model puts in the place of each word."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from edgeprune.base.errors import UsageError
from edgeprune.data.table import Text
from edgeprune.models.masked_head import load_masked_model
from edgeprune.models.text_reader import TextReader, load_text_reader
from edgeprune.tasks.fill_mask import FillMask
from edgeprune.tasks.spec import TaskSpec
from edgeprune.tasks.text import Texts
from edgeprune.tasks.text_classification import TextClassification
from edgeprune.training import words_in_context
from edgeprune.training.whole_words import whole_words
from edgeprune.training.word_replacement import WordReplacement
from edgeprune.training.words_in_context import FoundInContext, InContext, find_in_context
from tests.conftest import MODEL_TYPES, ModelFactory
from tests.support.trained_tokenizers import KINDS, decoding

SHORT = ["the great film was warm .", "a", "boring plot ; and clever ending"]
LONG = "the film was great and the plot was clever but the ending was awful and very dull with a weak story"
"""20 words of the vocabulary, and one that isn't in it."""


def task_of(reader: TextReader, *, pair: bool = False, max_length: int = 32) -> Texts:
    return TextClassification(
        TaskSpec(
            task="text-classification", problem_type="single_label_classification", labels=("a", "b"), pair=pair,
            max_length=max_length, inputs=reader.inputs_of(pair=pair),
        )
    )  # fmt: skip


def found_by(
    model: PreTrainedModel, reader: TextReader, contents: Sequence[Text], *, max_length: int = 32
) -> FoundInContext:
    task = task_of(reader, pair=isinstance(contents[0], tuple), max_length=max_length)
    return find_in_context(model, task, reader, contents, lambda _done, _total: None)


def words_of(found: FoundInContext, reader: TextReader, row: int, text: Text) -> list[list[list[str]]]:
    """By text of a pair and by chunk, the words that may take its place."""
    substitutes = InContext(found, whole_words(reader.tokenizer))
    sides = [text] if isinstance(text, str) else text
    return [[list(one) for one in substitutes.of(row, side, text.split())] for side, text in enumerate(sides)]


def by_hand(model: PreTrainedModel, reader: TextReader, text: Text, own: str, places: Sequence[int]) -> list[str]:
    """The likeliest whole words at the first of some masked places, but the own one."""
    pair = (text,) if isinstance(text, str) else text
    encoded = reader.tokenizer(*pair, return_tensors="pt")
    inputs = {name: encoded[name] for name in reader.inputs}
    inputs["input_ids"][0, list(places)] = reader.tokenizer.mask_token_id
    with torch.no_grad():
        logits = model(**inputs).logits[0, places[0]]
    whole = whole_words(reader.tokenizer)
    ranked = sorted(whole, key=lambda token: -float(logits[token]))
    return [whole[token] for token in ranked if whole[token].casefold() != own.casefold()][:15]


@pytest.fixture(scope="module")
def bert(tiny_model_folder: ModelFactory) -> tuple[PreTrainedModel, TextReader]:
    folder = tiny_model_folder(head="ForMaskedLM")
    return load_masked_model(folder), load_text_reader(folder, 32)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_in_short_texts_they_are_those_of_masking_each_word_alone(tiny_model_folder: ModelFactory, model_type: str):
    folder = tiny_model_folder(model_type, "ForMaskedLM")
    model, reader = load_masked_model(folder), load_text_reader(folder, 32)
    reader.fit_to(model.config)
    found = found_by(model, reader, SHORT)
    assert found.counts.tolist() == [[5], [1], [5]]
    for row, text in enumerate(SHORT):
        (chunks,) = words_of(found, reader, row, text)
        for place, (word, others) in enumerate(zip(text.split(), chunks, strict=True)):
            expected = [] if word in ".;" else by_hand(model, reader, text, word, [1 + place])
            assert others == expected, (text, word)
            assert len(set(others)) == (0 if word in ".;" else 15)


def test_in_long_texts_every_seventh_word_is_masked_with_it(bert: tuple[PreTrainedModel, TextReader]):
    model, reader = bert
    places = [place for place, word in enumerate(LONG.split(), 1) if word != "but"]
    (chunks,) = words_of(found_by(model, reader, [*SHORT, LONG]), reader, 3, LONG)
    for number, place in enumerate(places):
        together = places[number % 7 :: 7]
        assert len(together) == (3 if number % 7 < 6 else 2)
        word = LONG.split()[place - 1]
        expected = by_hand(model, reader, LONG, word, [place, *(one for one in together if one != place)])
        assert chunks[place - 1] == expected, word
    assert chunks[LONG.split().index("but")] == []


def test_they_do_not_depend_on_the_batches(bert: tuple[PreTrainedModel, TextReader], monkeypatch: pytest.MonkeyPatch):
    together = found_by(*bert, [*SHORT, LONG])
    monkeypatch.setattr(words_in_context, "_TOKENS_AT_ONCE", 1)
    seen = list[tuple[int, int]]()
    model, reader = bert
    alone = find_in_context(model, task_of(reader), reader, [*SHORT, LONG], lambda *batch: seen.append(batch))
    assert np.array_equal(alone.tokens, together.tokens)
    assert np.array_equal(alone.chunks, together.chunks)
    assert seen == [(done, 18) for done in range(1, 19)], "5, 1, 5 and 7 passes"


def test_both_texts_of_a_pair_have_places_and_see_each_other(bert: tuple[PreTrainedModel, TextReader]):
    model, reader = bert
    pairs = [("good ; film", "warm plot"), ("good ; film", "stale story")]
    found = found_by(model, reader, pairs)
    assert found.counts.tolist() == [[2, 2], [2, 2]]
    first, second = (words_of(found, reader, row, pair) for row, pair in enumerate(pairs))
    for words, pair in ((first, pairs[0]), (second, pairs[1])):
        assert words[0][1] == []
        assert words[0][2] == by_hand(model, reader, pair, "film", [3])
        assert words[1][1] == by_hand(model, reader, pair, pair[1].split()[1], [6])
    assert first[0] != second[0]


@pytest.mark.parametrize("kind", KINDS)
def test_words_of_one_token_are_masked_with_every_kind_of_tokenizer(kind: str, monkeypatch: pytest.MonkeyPatch):
    tokenizer = decoding(kind)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    model, reader = BertForMaskedLM(config).eval(), TextReader(tokenizer, 32)
    seen = list[list[int]]()
    forward = FillMask.forward

    def watched(self: FillMask, model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> object:
        targets = batch["targets"]
        for row in (targets == 0).int().tolist():
            seen.append([place for place, masked in enumerate(row) if masked])
        assert (batch["input_ids"][targets == 0] == tokenizer.mask_token_id).all()
        return forward(self, model, batch)

    monkeypatch.setattr(FillMask, "forward", watched)
    text = "a  goodness \t[SEP] a, (a); Film"
    ids = tokenizer(text)["input_ids"]
    found = found_by(model, reader, [text])
    whole = whole_words(tokenizer)
    (chunks,) = words_of(found, reader, 0, text)
    known = [position for (position,) in seen]
    assert known == sorted(known)
    assert not {ids[position] for position in known} & {*tokenizer.all_special_ids}
    assert [tokenizer.decode([ids[position]]).strip() for position in known] == [
        {"a": "a", "Film": "film"}[text.split()[chunk].strip(",();")] for chunk in found.chunks
    ]
    assert {0, 3} <= set(found.chunks.tolist()), "where it begins the text, and before a sign"
    assert (5 in found.chunks) is (kind != "Unigram"), "capital letters are no other word"
    for position, chunk in zip(known, found.chunks.tolist(), strict=True):
        own = text.split()[chunk].strip(",();")
        assert chunks[chunk] == by_hand(model, reader, text, own, [position])
        assert set(chunks[chunk]) <= set(whole.values()) - {own.lower()}
    assert chunks[1] == chunks[2] == []


def test_words_behind_the_cut_have_no_place(bert: tuple[PreTrainedModel, TextReader]):
    found = found_by(*bert, ["good film", LONG], max_length=6)
    assert found.counts.tolist() == [[2], [4]]
    assert found.chunks.tolist() == [0, 1, 0, 1, 2, 3]


def test_texts_without_such_words_are_refused(bert: tuple[PreTrainedModel, TextReader]):
    with pytest.raises(UsageError, match=r"stages\.finetune\.replace takes words that are single tokens"):
        found_by(*bert, ["1999 ;", "[MASK] [SEP]"])


def test_what_is_found_is_written_in_few_bytes_and_read_again(bert: tuple[PreTrainedModel, TextReader], tmp_path: Path):
    model, reader = bert
    found = found_by(model, reader, SHORT)
    found.save(tmp_path / "found.safetensors")
    again = FoundInContext.load(tmp_path / "found.safetensors")
    assert [words_of(again, reader, row, text) for row, text in enumerate(SHORT)] == [
        words_of(found, reader, row, text) for row, text in enumerate(SHORT)
    ]
    assert again.tokens.dtype == np.uint8, "of a vocabulary of 35 tokens"


def test_words_are_drawn_from_what_was_found_for_their_own_place(bert: tuple[PreTrainedModel, TextReader]):
    model, reader = bert
    contents = ["good film", "the good film was a good film"]
    found, whole = found_by(model, reader, contents), whole_words(reader.tokenizer)
    replacement = WordReplacement(InContext(found, whole), texts=1.0, words=1.0)
    for row, text in enumerate(contents):
        (chunks,) = words_of(found, reader, row, text)
        drawn = [replacement.draw([(row, text)], np.random.default_rng(seed))[0] for seed in range(200)]
        assert drawn[0] == replacement.draw([(row, text)], np.random.default_rng(0))[0]
        for number, others in enumerate(chunks):
            assert {str(one).split()[number] for one in drawn} == set(others)
    kept = {token: word for token, word in whole.items() if word in chunks[1][:2]}
    few = WordReplacement(InContext(found, kept), texts=1.0, words=1.0)
    drawn = [few.draw([(1, contents[1])], np.random.default_rng(seed))[0] for seed in range(50)]
    assert {str(one).split()[1] for one in drawn} == set(chunks[1][:2])
    assert {word for one in drawn for word in str(one).split()} <= {*chunks[1][:2], *contents[1].split()}
