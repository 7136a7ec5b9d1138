"""The promise of a chosen threshold holds in as many draws of rows as it says."""

import numpy as np
import pytest

from edgeprune.cascade.risk_control import Promise, choose_threshold, p_value


@pytest.mark.parametrize(
    ("rows", "limit", "changed"), [(856, 0.005, 0.006), (856, 0.005, 0.05), (300, 0.02, 0.06), (100, 0.05, 0.5)]
)
def test_a_cascade_that_loses_the_limit_passes_in_at_most_five_draws_of_a_hundred(
    rows: int, limit: float, changed: float
) -> None:
    lost, won = (changed + limit) / 2, (changed - limit) / 2
    draws = np.random.default_rng(0).multinomial(rows, [lost, won, 1 - changed], size=4000)
    seen, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    passed = sum(
        count for (a, b), count in zip(seen, counts, strict=True) if p_value(int(a), int(b), rows, limit) <= 0.05
    )
    assert passed / 4000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)


def test_a_cascade_that_loses_nothing_passes_with_enough_rows() -> None:
    assert p_value(0, 0, 1000, 0.005) < 0.05
    assert p_value(10, 10, 4000, 0.005) < 0.05
    assert p_value(0, 0, 100, 0.005) > 0.5


def test_more_lost_is_less_sure_and_more_won_is_surer() -> None:
    found = [p_value(lost, 8, 1000, 0.01) for lost in range(6, 30, 4)]
    assert found == sorted(found)
    assert p_value(8, 12, 1000, 0.01) < p_value(8, 4, 1000, 0.01)


def test_the_limit_is_kept_in_as_many_draws_as_promised() -> None:
    """Surer answers are worth more here; the loss at every threshold is known, so a choice that breaks the limit is seen."""
    generator, limit, candidates = np.random.default_rng(0), 0.02, np.linspace(0, 1, 21)
    broken = answered = 0
    for _ in range(300):
        margins = generator.random(600)
        lost = generator.random(600) < 0.12 * (1 - margins) ** 2  # beyond t: 0.04 · (1 - t)³ in all
        won = ~lost & (generator.random(600) < 0.01)
        threshold = choose_threshold(margins, (~lost, ~won), candidates, [Promise(~won, limit, 0.95)])
        if threshold is not None:
            left = 1 - threshold
            loss = 0.04 * left**3 - 0.01 * (left - 0.04 * left**3)
            broken += loss > limit
            answered += 1
    assert answered > 200
    assert broken / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_the_choice_stops_at_the_first_threshold_that_fails() -> None:
    margins = np.repeat([4.0, 3.0, 2.0, 1.0], 250)
    changes = np.zeros(1000, int)
    changes[500:520] = 1  # at 2
    changes[750:800] = -1  # at 1 more is won again, but that comes behind the failure
    stages = changes < 1, changes > -1
    candidates, promise = np.array([1.0, 2.0, 3.0, 4.0]), Promise(stages[1], 0.01, 0.95)
    assert choose_threshold(margins, stages, candidates, [promise]) == 3.0
    dense = margins > 3  # the encoder is right everywhere, so against this model a first stage wins
    assert choose_threshold(margins, stages, candidates, [promise, Promise(dense, 0.01, 0.95)]) == 3.0
    never = np.ones(1000, bool)
    assert (
        choose_threshold(margins, (stages[0], margins > 1), candidates, [promise, Promise(never, 0.01, 0.95)]) is None
    )


def test_few_rows_choose_nothing() -> None:
    margins = np.arange(50.0)
    right = np.ones(50, bool)
    assert choose_threshold(margins, (right, right), margins, [Promise(right, 0.005, 0.95)]) is None
