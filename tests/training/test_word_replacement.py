import re
from functools import cache

import numpy as np
import pytest
import torch
from tokenizers import decoders
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from edgeprune.base.errors import UsageError
from edgeprune.data.table import Text
from edgeprune.profiles.pipeline import DistillConfig
from edgeprune.training import word_replacement
from edgeprune.training.distillation import Teacher
from edgeprune.training.word_replacement import WordReplacement, nearest, whole_words
from tests.support.trained_tokenizers import CORPUS, KINDS, trained

DECODERS = {"WordPiece": decoders.WordPiece(), "BPE": decoders.ByteLevel(), "Unigram": decoders.Metaspace()}
WORDS = {0: "cat", 1: "dog", 2: "cow", 3: "Cat", 4: "car", 5: "bus"}
ANGLES = {0: 0.0, 1: 10.0, 2: 30.0, 3: 1.0, 4: 90.0, 5: 100.0}
"""In degrees: the animals lie together, and so do the vehicles."""


def embedding_of(angles: dict[int, float]) -> torch.Tensor:
    """Rows of different lengths, which a cosine doesn't depend on."""
    radians = torch.deg2rad(torch.tensor([angles[token] for token in sorted(angles)]))
    return torch.stack([radians.cos(), radians.sin()], 1) * torch.arange(1.0, len(angles) + 1)[:, None]


@pytest.mark.parametrize("rows_at_once", [1, 256])
def test_the_nearest_words_by_cosine_without_the_word_itself(monkeypatch: pytest.MonkeyPatch, rows_at_once: int):
    monkeypatch.setattr(word_replacement, "_ROWS_AT_ONCE", rows_at_once)
    assert nearest(embedding_of(ANGLES), [0, 2, 4], WORDS) == {
        0: ["dog", "cow", "car", "bus"],
        2: ["dog", "Cat", "cat", "car", "bus"],
        4: ["bus", "cow", "dog", "Cat", "cat"],
    }


def test_so_many_neighbours_and_no_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(word_replacement, "_NEIGHBOURS", 2)
    assert nearest(embedding_of(ANGLES), [0, 5], WORDS) == {0: ["dog", "cow"], 5: ["car", "cow"]}


def test_tokens_that_are_no_whole_words_are_no_neighbours():
    assert nearest(embedding_of(ANGLES), [0], {0: "cat", 2: "cow", 5: "bus"}) == {0: ["cow", "bus"]}


@cache
def decoding(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer that can turn tokens into words again, as those of real models can."""
    tokenizer = trained(kind)
    tokenizer.backend_tokenizer.decoder = DECODERS[kind]
    return tokenizer


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


def replacement(
    kind: str = "WordPiece", *, texts: float = 1.0, words: float = 1.0, contents: tuple[Text, ...] = ()
) -> tuple[WordReplacement, PreTrainedTokenizerFast]:
    tokenizer = decoding(kind)
    embedding = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(0))
    return WordReplacement(tokenizer, embedding, contents or CORPUS, texts=texts, words=words), tokenizer


def drawn(altering: WordReplacement, text: Text, *seeds: int) -> list[Text]:
    return [altering.draw(text, np.random.default_rng(seed)) for seed in seeds or range(50)]


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


def test_what_never_stands_alone_in_the_texts_takes_no_words_place():
    altering, _ = replacement(contents=("good film 'story", "the 'film' ; plot's"))
    words = {str(text).split()[0] for text in drawn(altering, "good ;", *range(100))}
    assert words == {"film", "the"}
    assert all(str(text) == "'story ;" for text in drawn(altering, "'story ;"))


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


def test_texts_without_a_word_that_could_be_replaced_are_refused():
    with pytest.raises(UsageError, match=r"stages\.finetune\.replace takes words that are single tokens"):
        replacement(contents=("1999 ; goodness",))


def test_a_teachers_embedding_is_by_the_students_tokens():
    model = BertModel(
        BertConfig(vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    rows = model.embeddings.word_embeddings.weight
    teacher = Teacher(model, DistillConfig(), layers=[0])
    assert torch.equal(teacher.embedding, rows)
    assert torch.equal(Teacher(model, DistillConfig(), layers=[0], tokens=torch.tensor([7, 3])).embedding, rows[[7, 3]])
