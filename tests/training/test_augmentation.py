from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.data.table import Content, Text
from edgeprune.tasks.example import Example
from edgeprune.tasks.roles import RowEncoding
from edgeprune.training.augmentation import Augmentation
from edgeprune.training.word_replacement import Substitutes, WordReplacement

TEXTS = [f"{letter}1 {letter}2 {letter}3 {letter}4 {letter}5" for letter in "abcdefghij"]


class Words(RowEncoding):
    """A row's inputs are its text."""

    def encode(self, reader: object, contents: Sequence[Content], references: object = None) -> list[Example]:
        return [Example({"text": content}) for content in contents]  # type: ignore[dict-item]


class Capitals(WordReplacement):
    """Every word is replaced by itself in capital letters, in a share of the texts."""

    def __init__(self, texts: float) -> None:
        self._texts = texts

    def draw(self, rows: Sequence[tuple[int, Text]], generator: np.random.Generator) -> list[Text]:
        replaced = generator.random() < self._texts
        return [str(text).upper() if replaced else text for _, text in rows]


class Numbered(Substitutes):
    """Every word is replaced by what says where it stood: row, side and place."""

    def of(self, row: int, side: int, words: Sequence[str]) -> list[list[str]]:
        return [[f"{word}-{row}-{side}-{place}"] for place, word in enumerate(words)]


def drawn(
    contents: Sequence[Text], *, share: float = 1.0, seed: int = 0, epochs: int = 20, capitals: float | None = None
) -> list[list[Any]]:
    """By epoch, what stands in each row's place; None: itself."""
    replacement = None if capitals is None else Capitals(capitals)
    augmentation = Augmentation(Words(), None, contents, share=share, seed=seed, replacement=replacement)  # type: ignore[arg-type]
    found = [[augmentation.draw(row, epoch) for row in range(len(contents))] for epoch in range(epochs)]
    return [[None if one is None else one.inputs["text"] for one in epoch] for epoch in found]


def test_a_draw_depends_on_seed_epoch_and_row_alone():
    assert drawn(TEXTS) == drawn(TEXTS)
    assert drawn(TEXTS) != drawn(TEXTS, seed=1)
    one, two = drawn(TEXTS, epochs=2)
    assert one != two
    alone = Augmentation(Words(), None, TEXTS, share=1.0, seed=0)  # type: ignore[arg-type]
    last = alone.draw(3, 1)
    assert last is not None
    assert last.inputs["text"] == two[3]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_rows_are_altered(share: float):
    rows = [one for epoch in drawn(TEXTS, share=share, epochs=200) for one in epoch]
    assert np.mean([one is not None for one in rows]) == pytest.approx(share, abs=0.04)


def test_words_are_replaced_in_whole_texts_and_in_texts_of_pieces():
    pieces = drawn(TEXTS, share=0.5)
    assert drawn(TEXTS, share=0.5, capitals=0.0) == pieces, "the pieces don't depend on the words"
    together = drawn(TEXTS, share=0.5, capitals=0.5)
    kinds = set()
    for epoch, with_capitals in zip(pieces, together, strict=True):
        for own, piece, text in zip(TEXTS, epoch, with_capitals, strict=True):
            assert text in {piece, (piece or own).upper()}
            kinds.add((piece is None, text == piece))
    assert len(kinds) == 4
    assert drawn(TEXTS, share=0.0, capitals=1.0) == [[text.upper() for text in TEXTS]] * 20


@pytest.mark.parametrize("contents", [TEXTS, [(text.upper(), text) for text in TEXTS]])
def test_words_of_pieces_are_replaced_as_in_their_own_texts(contents: Sequence[Text]):
    replacement = WordReplacement(Numbered(), texts=1.0, words=1.0)
    augmentation = Augmentation(Words(), None, contents, share=0.8, seed=0, replacement=replacement)  # type: ignore[arg-type]
    kinds = set()
    for row in range(len(contents)):
        for epoch in range(20):
            drawn = augmentation.draw(row, epoch)
            assert drawn is not None
            text: Any = drawn.inputs["text"]
            for side, one in enumerate([text] if isinstance(text, str) else text):
                for word, *place in (chunk.split("-") for chunk in one.split()):
                    assert place == [str("abcdefghij".index(word[0].lower())), str(side), str(int(word[1]) - 1)]
                    assert word.isupper() is (isinstance(text, tuple) and side == 0)
                    kinds.add(int(place[0]) == row)
    assert kinds == {True, False}


def runs(text: str) -> list[list[str]]:
    """The words of a text, split where one doesn't follow the other in its own text."""
    found: list[list[str]] = []
    for word in text.split():
        if found and found[-1][-1] == f"{word[0]}{int(word[1]) - 1}":
            found[-1].append(word)
        else:
            found.append([word])
    return found


def test_altered_texts_are_pieces_of_a_rows_own_text_of_another_or_of_both_in_this_order():
    kinds = set()
    for epoch in drawn(TEXTS, epochs=100):
        for own, text in zip(TEXTS, epoch, strict=True):
            pieces = runs(text)
            assert all(len(piece) >= 2 for piece in pieces)
            kinds.add(tuple(piece[0][0] == own[0] for piece in pieces))
    # (True, True): the other text that was drawn is the row's own.
    assert kinds == {(True,), (False,), (True, False), (True, True)}


def test_pairs_stay_pairs_of_the_same_two_rows():
    pairs = [(text, text.upper()) for text in TEXTS]
    rows_together = set()
    for epoch in drawn(pairs):
        for (own, _), (first, second) in zip(pairs, epoch, strict=True):
            letters = {word[0] for word in first.split()} | {word[0].lower() for word in second.split()}
            rows_together.add(len(letters | {own[0]}))
            assert first == first.lower()
            assert second == second.upper()
    assert rows_together == {1, 2}


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_any_texts_can_be_altered(texts: list[str]):
    words = {word for text in texts for word in text.split()}
    for epoch in drawn(texts, epochs=3):
        assert all(set(text.split()) <= words for text in epoch)
