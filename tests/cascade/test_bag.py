import numpy as np

from edgeprune.cascade.bag import FIRST, SECOND, Bag, margins, places_of


def test_places_are_tokens_and_hashed_pairs() -> None:
    places = places_of(np.array([5, 7, 5]), vocabulary=10, pair_rows=16)
    assert places.tolist() == [5, 7, 5, 10 + (FIRST * 5 + SECOND * 7) % 16, 10 + (FIRST * 7 + SECOND * 5) % 16]
    assert places[3] != places[4]  # the order of a pair counts


def test_a_text_is_the_sum_of_its_rows_over_the_root_of_their_number() -> None:
    table = np.zeros((10 + 16, 2), np.float32)
    table[5], table[7], table[places_of(np.array([5, 7]), 10, 16)[2]] = (1, 0), (0, 2), (0, 1)
    bag = Bag.rounded(table, np.array([0.5, 0], np.float32), vocabulary=10)
    assert bag.table.dtype == np.int8
    found = bag.logits([np.array([5, 7]), np.array([5])])
    np.testing.assert_allclose(found, [[1 / 3**0.5 + 0.5, 3 / 3**0.5], [1.5, 0]], atol=0.02)
    np.testing.assert_allclose(margins(found), [3**0.5 - 1 / 3**0.5 - 0.5, 1.5], atol=0.04)


def test_a_table_of_zeros_answers_by_its_bias() -> None:
    bag = Bag.rounded(np.zeros((12, 3), np.float32), np.array([0, 2, 1], np.float32), vocabulary=4)
    assert bag.logits([np.array([1, 2])]).tolist() == [[0, 2, 1]]
