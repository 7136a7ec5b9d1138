import itertools
import math

import pytest

from edgeprune.search.ladder import Tried, least_that_keeps, most_that_keeps

STEPS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


def rung(speedup: float, *, keeps: bool, beyond: bool | None = None, used: float | None = None) -> Tried:
    return Tried(speedup, keeps, beyond=not keeps if beyond is None else beyond, used=used)


def climb(limit: float, *, refine: int) -> list[float]:
    """Return the speed-ups that a search tries if every speed-up up to a limit keeps the metric's budget."""
    tried = [rung(1.0, keeps=True)]
    while (speedup := most_that_keeps(STEPS, tried, refine=refine)) is not None:
        tried.append(rung(speedup, keeps=speedup <= limit))
    return [one.speedup for one in tried[1:]]


def descend(limit: float, *, refine: int, off: float = 1.0) -> list[Tried]:
    """Return what a search tries if every speed-up from a limit on keeps the budgets, and predictions are off."""
    tried = [rung(1.0, keeps=limit <= 1, used=limit)]
    while True:
        # A prediction that was off is corrected by what was measured last.
        wanted = limit * (off if len(tried) == 1 else 1.0) * 1.03
        speedup = least_that_keeps(STEPS, tried, wanted=wanted, refine=refine)
        if speedup is None:
            return tried
        tried.append(rung(speedup, keeps=speedup >= limit, used=limit / speedup))


def test_the_ladder_ends_after_two_steps_beyond_the_budget_and_then_halves_the_gap():
    assert climb(2.2, refine=2) == [
        1.5,
        2.0,
        3.0,
        4.0,
        pytest.approx(math.sqrt(6), abs=1e-3),
        pytest.approx(2.213, abs=1e-3),
    ]


def test_one_step_that_misses_by_chance_does_not_end_the_ladder():
    tried = [rung(1.0, keeps=True), rung(1.5, keeps=False), rung(2.0, keeps=True)]
    assert most_that_keeps(STEPS, tried, refine=2) == 3.0


def test_steps_that_may_keep_the_budget_do_not_end_the_ladder():
    """They are not shipped, for nobody can be sure; the next one may be better by chance."""
    unsure = rung(1.5, keeps=False, beyond=False)
    tried = [rung(1.0, keeps=True), unsure, rung(2.0, keeps=False)]
    assert most_that_keeps(STEPS, tried, refine=2) == 3.0
    assert most_that_keeps(STEPS, [*tried, rung(3.0, keeps=False)], refine=2) == pytest.approx(math.sqrt(1.5), abs=1e-3)


def test_a_ladder_whose_every_step_keeps_the_budget_ends_with_its_last_step():
    assert climb(100, refine=3) == list(STEPS)


def test_without_refinement_only_steps_are_tried():
    assert climb(2.2, refine=0) == [1.5, 2.0, 3.0, 4.0]


def test_where_no_step_keeps_the_budget_the_gap_to_the_dense_model_is_refined():
    assert climb(1.0, refine=1) == [1.5, 2.0, pytest.approx(math.sqrt(1.5), abs=1e-3)]


def test_speedups_that_cannot_be_told_apart_are_not_refined():
    tried = [rung(1.0, keeps=True), rung(1.5, keeps=True), rung(1.55, keeps=False), rung(2.0, keeps=False)]
    assert most_that_keeps((1.5, 1.55, 2.0), tried, refine=5) is None


def test_a_dense_model_within_the_budgets_decides_at_once():
    assert len(descend(0.9, refine=2)) == 1


@pytest.mark.parametrize("limit", [1.2, 1.5, 2.6, 5.0, 7.9])
def test_the_budget_is_met_by_way_of_the_slower_steps_and_used_well(limit: float):
    tried = descend(limit, refine=2)
    *before, last = tried
    assert last.keeps
    assert last.used is not None
    assert last.used >= 0.85
    assert [one.speedup for one in before[1:]] == [step for step in STEPS if step * 1.05 <= limit * 1.03]


@pytest.mark.parametrize(("limit", "off"), list(itertools.product([1.4, 2.6, 5.0], [0.85, 1.2])))
def test_a_prediction_that_was_off_costs_a_rung_or_two(limit: float, off: float):
    tried = descend(limit, refine=2, off=off)
    assert max(one.used or 0 for one in tried if one.keeps) >= 0.85
    assert len(tried) <= 2 + sum(step <= limit for step in STEPS) + 3


def test_budgets_that_nothing_predicts_are_found_by_the_ladder_and_halving():
    tried = [rung(1.0, keeps=False, used=3.0)]
    while (speedup := least_that_keeps(STEPS, tried, wanted=None, refine=2)) is not None:
        tried.append(rung(speedup, keeps=speedup >= 3.4, used=3.0 / speedup))
    assert [one.speedup for one in tried] == [1.0, 1.5, 2.0, 3.0, 4.0, pytest.approx(3.464), pytest.approx(3.224)]


def test_budgets_that_no_step_keeps_end_the_search():
    tried = [rung(1.0, keeps=False), *(rung(step, keeps=False) for step in STEPS)]
    assert least_that_keeps(STEPS, tried, wanted=None, refine=2) is None


def test_where_predictions_miss_again_and_again_the_ladder_goes_on():
    tried = [rung(1.0, keeps=False), rung(1.5, keeps=False), rung(1.8, keeps=False), rung(1.9, keeps=False)]
    assert least_that_keeps(STEPS, tried, wanted=1.95, refine=1) == 2.0
