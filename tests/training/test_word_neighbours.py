"""edgeprune/training/word_neighbours.py: the nearest words in an embedding, and texts in which they stand."""

import pytest
import torch
from transformers import BertConfig, BertModel

from edgeprune.base.errors import UsageError
from edgeprune.data.table import Text
from edgeprune.profiles.pipeline import DistillConfig
from edgeprune.training import whole_words as words
from edgeprune.training import word_neighbours
from edgeprune.training.distillation import Teacher
from edgeprune.training.whole_words import whole_words
from edgeprune.training.word_neighbours import Neighbours, nearest
from tests.support.trained_tokenizers import CORPUS, decoding

WORDS = {0: "cat", 1: "dog", 2: "cow", 3: "Cat", 4: "car", 5: "bus"}
ANGLES = {0: 0.0, 1: 10.0, 2: 30.0, 3: 1.0, 4: 90.0, 5: 100.0}
"""In degrees: the animals lie together, and so do the vehicles."""


def embedding_of(angles: dict[int, float]) -> torch.Tensor:
    """Rows of different lengths, which a cosine doesn't depend on."""
    radians = torch.deg2rad(torch.tensor([angles[token] for token in sorted(angles)]))
    return torch.stack([radians.cos(), radians.sin()], 1) * torch.arange(1.0, len(angles) + 1)[:, None]


@pytest.mark.parametrize("rows_at_once", [1, 256])
def test_the_nearest_words_by_cosine_without_the_word_itself(monkeypatch: pytest.MonkeyPatch, rows_at_once: int):
    monkeypatch.setattr(word_neighbours, "_ROWS_AT_ONCE", rows_at_once)
    assert nearest(embedding_of(ANGLES), [0, 2, 4], WORDS) == {
        0: ["dog", "cow", "car", "bus"],
        2: ["dog", "Cat", "cat", "car", "bus"],
        4: ["bus", "cow", "dog", "Cat", "cat"],
    }


def test_so_many_neighbours_and_no_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(words, "MOST_SUBSTITUTES", 2)
    assert nearest(embedding_of(ANGLES), [0, 5], WORDS) == {0: ["dog", "cow"], 5: ["car", "cow"]}


def test_tokens_that_are_no_whole_words_are_no_neighbours():
    assert nearest(embedding_of(ANGLES), [0], {0: "cat", 2: "cow", 5: "bus"}) == {0: ["cow", "bus"]}


def neighbours(kind: str = "WordPiece", contents: tuple[Text, ...] = ()) -> Neighbours:
    tokenizer = decoding(kind)
    embedding = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(0))
    return Neighbours(tokenizer, embedding, contents or CORPUS)


@pytest.mark.parametrize("kind", ["WordPiece", "BPE"])
def test_each_word_of_a_text_has_its_neighbours_whatever_text_it_is(kind: str):
    tokenizer = decoding(kind)
    embedding = torch.randn(len(tokenizer), 8, generator=torch.Generator().manual_seed(0))
    alone = set(" ".join(CORPUS).split())
    whole = {token: word for token, word in whole_words(tokenizer).items() if word in alone}
    token = next(token for token, word in whole.items() if word == "film")
    near = nearest(embedding, [token], whole)[token]
    assert [list(one) for one in neighbours(kind).of(7, 1, ["film", "1999", "", "film"])] == [near, [], [], near]


def test_what_never_stands_alone_in_the_texts_takes_no_words_place():
    found = neighbours(contents=("good film 'story", "the 'film' ; plot's"))
    (others,) = found.of(0, 0, ["good"])
    assert set(others) == {"film", "the"}
    assert list(found.of(0, 0, ["story"])) == [()]


def test_texts_without_a_word_that_could_be_replaced_are_refused():
    with pytest.raises(UsageError, match=r"stages\.finetune\.replace takes words that are single tokens"):
        neighbours(contents=("1999 ; goodness",))


def test_a_teachers_embedding_is_by_the_students_tokens():
    model = BertModel(
        BertConfig(vocab_size=12, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    rows = model.embeddings.word_embeddings.weight
    teacher = Teacher(model, DistillConfig(), layers=[0])
    assert torch.equal(teacher.embedding, rows)
    assert torch.equal(Teacher(model, DistillConfig(), layers=[0], tokens=torch.tensor([7, 3])).embedding, rows[[7, 3]])
