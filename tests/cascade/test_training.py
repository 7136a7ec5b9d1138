import numpy as np
import pytest

from edgeprune.cascade.bag import Bag
from edgeprune.cascade.training import Lesson, train_bag

NOT, GOOD, BAD, PLAIN = 1, 2, 3, 4


def lesson(texts: list[list[int]], right: list[int], embedding: np.ndarray | None = None) -> Lesson:
    return Lesson(
        [np.array(text) for text in texts],
        6 * np.eye(2)[right] - 3,
        np.eye(8) if embedding is None else embedding,
    )


def trained(given: Lesson, seed: int = 0) -> Bag:
    return train_bag(given, pair_bits=8, seed=seed, on_step=lambda *_: None)


@pytest.fixture(scope="module")
def negated() -> Lesson:
    """Texts whose answer depends on the order of tokens, so that tokens alone don't tell it."""
    generator = np.random.default_rng(0)
    texts, right = [], []
    for _ in range(600):
        word, turned, plain = (
            int(generator.integers(2)),
            bool(generator.integers(2)),
            [PLAIN] * int(generator.integers(3)),
        )
        said = [GOOD, BAD][word]
        texts.append([*plain, NOT, said] if turned else [*plain, said, NOT])
        right.append(word ^ turned)
    return lesson(texts, right)


def test_pairs_are_learned(negated: Lesson) -> None:
    found = trained(negated).logits(negated.texts).argmax(1)
    assert (found == negated.teacher.argmax(1)).mean() > 0.99


def test_the_same_seed_gives_the_same_first_stage(negated: Lesson) -> None:
    one, same, other = (trained(negated, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.table, same.table)
    assert one.scale == same.scale
    assert not np.array_equal(one.table, other.table)


def test_a_token_that_no_text_has_answers_as_its_neighbours_in_the_embedding_do() -> None:
    embedding = np.random.default_rng(0).normal(size=(8, 6)) * 0.1
    embedding[GOOD, 0], embedding[BAD, 0], embedding[7, 0] = 1, -1, 1  # 7 is like GOOD, and is in no text
    given = lesson([[GOOD, PLAIN], [BAD, PLAIN]] * 100, [1, 0] * 100, embedding)
    assert trained(given).logits([np.array([7])]).argmax() == 1
