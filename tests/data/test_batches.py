"""edgeprune/data/batches.py"""

from edgeprune.data.batches import draw


def test_batches_are_drawn_in_a_seeded_order_and_the_largest_is_of_the_longest_rows() -> None:
    rows = ["a", "bbb", "cc", "dddd"]
    groups, longest = draw(rows, len, batch_size=2, count=50, seed=3)
    assert [len(group) for group in groups] == [2] * 50
    assert {row for group in groups for row in group} == set(rows)
    assert draw(rows, len, batch_size=2, count=50, seed=3)[0] == groups
    assert draw(rows, len, batch_size=2, count=50, seed=4)[0] != groups
    assert longest == ["dddd", "bbb"]


def test_a_batch_may_be_larger_than_there_are_rows() -> None:
    _, longest = draw(["a", "bbb"], len, batch_size=5, count=1, seed=0)
    assert longest == ["bbb", "a", "bbb", "a", "bbb"]
