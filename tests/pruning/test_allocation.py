import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgeprune.pruning.allocation import FloatArray, keep_by_cost, keep_counts, strongest

allocations = st.sampled_from(["uniform", "global"])
fractions = st.floats(0.01, 1.0)
alignments = st.sampled_from([1, 2, 8, 64])


@st.composite
def layers(draw: st.DrawFn, *, whole_steps_of: int | None = None) -> list[FloatArray]:
    """Scores of one to six layers."""
    widths = st.integers(1, 40).map(lambda n: n * whole_steps_of) if whole_steps_of else st.integers(1, 300)
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    scale = draw(st.sampled_from([0.0, 1.0, 1e12]))
    return [scale * generator.exponential(size=width) for width in draw(st.lists(widths, min_size=1, max_size=6))]


def widths(scores: list[FloatArray]) -> list[int]:
    return [len(values) for values in scores]


@given(layers(), fractions, allocations, alignments)
def test_no_layer_is_emptied_and_none_keeps_more_than_it_has(
    scores: list[FloatArray], keep: float, allocation: str, align: int
):
    counts = keep_counts(scores, widths(scores), keep, allocation=allocation, align=align)
    assert len(counts) == len(scores)
    for count, have in zip(counts, widths(scores), strict=True):
        assert min(align, have) <= count <= have


@given(layers(), fractions, allocations, alignments)
def test_widths_are_multiples_of_the_alignment_or_everything(
    scores: list[FloatArray], keep: float, allocation: str, align: int
):
    counts = keep_counts(scores, widths(scores), keep, allocation=allocation, align=align)
    assert all(count % align == 0 or count == have for count, have in zip(counts, widths(scores), strict=True))


@given(layers(), allocations, alignments)
def test_keeping_all_keeps_all(scores: list[FloatArray], allocation: str, align: int):
    assert keep_counts(scores, widths(scores), 1.0, allocation=allocation, align=align) == widths(scores)


@given(st.data(), fractions, allocations, st.sampled_from([1, 8, 64]))
def test_the_total_is_that_asked_for_to_half_a_step(data: st.DataObject, keep: float, allocation: str, align: int):
    scores = data.draw(layers(whole_steps_of=align))
    wanted = keep * sum(widths(scores))
    counts = keep_counts(scores, widths(scores), keep, allocation=allocation, align=align)
    assume(min(counts) > align)  # a layer held at its least makes the total larger
    assert abs(sum(counts) - wanted) <= align / 2 + 1


@given(st.data(), fractions, allocations, st.sampled_from([1, 8, 64]))
def test_the_total_is_never_below_that_asked_for_by_more_than_half_a_step(
    data: st.DataObject, keep: float, allocation: str, align: int
):
    scores = data.draw(layers(whole_steps_of=align))
    counts = keep_counts(scores, widths(scores), keep, allocation=allocation, align=align)
    assert sum(counts) >= keep * sum(widths(scores)) - align / 2 - 1


def test_uniform_keeps_the_same_share_whatever_the_scores():
    scores = [np.full(256, 1e6), np.full(256, 1e-6), np.arange(128.0)]
    assert keep_counts(scores, [256, 256, 128], 0.5, allocation="uniform", align=64) == [128, 128, 64]


def test_global_keeps_more_where_the_scores_are_spread():
    strong = np.array([1.0] * 6 + [0.0] * 2)
    weak = np.array([1.0] * 2 + [0.0] * 6)
    assert keep_counts([strong, weak], [8, 8], 0.5, allocation="global", align=1) == [6, 2]


def test_global_takes_scores_as_they_are():
    """A layer that matters ten times as much keeps more, whatever its scores are like."""
    layer = np.linspace(1.0, 2.0, 8)
    assert keep_counts([layer, 10 * layer], [8, 8], 0.5, allocation="global", align=1) == [1, 7]


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_the_fraction_is_of_the_dense_model_not_of_what_is_left(allocation: str):
    left = [np.arange(1.0, 97.0), np.arange(1.0, 97.0)]
    assert keep_counts(left, [128, 128], 0.5, allocation=allocation, align=8) == [64, 64]


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_a_layer_narrower_than_the_alignment_keeps_all(allocation: str):
    scores = [np.full(6, 0.1), np.arange(256.0)]
    assert keep_counts(scores, [256, 256], 0.25, allocation=allocation, align=64)[0] == 6


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_the_strongest_are_kept_in_their_order_and_the_earlier_of_equals(values: list[int], data: st.DataObject):
    count = data.draw(st.integers(1, len(values)))
    kept = strongest(np.array(values, float), count)
    assert kept == sorted(sorted(range(len(values)), key=lambda unit: (-values[unit], unit))[:count])


@given(layers(), layers(), fractions, st.sampled_from([1, 8]), st.booleans())
def test_by_cost_nothing_left_out_would_have_fitted_better(
    heads: list[FloatArray], neurons: list[FloatArray], keep: float, align: int, allow_empty: bool
):
    costs = (40.0, 3.0)
    budget = keep * (costs[0] * sum(widths(heads)) + costs[1] * sum(widths(neurons)))
    counts = keep_by_cost(heads, neurons, costs=costs, budget=budget, align=align, allow_empty=allow_empty)
    spent = costs[0] * sum(counts[0]) + costs[1] * sum(counts[1])
    least = 0 if allow_empty else 1
    needed = costs[0] * least * len(heads) + costs[1] * sum(min(align, width) * least for width in widths(neurons))
    assert spent <= max(budget, needed) + 1e-6
    for kind, layer_scores, size in ((0, heads, 1), (1, neurons, align)):
        for count, scores in zip(counts[kind], layer_scores, strict=True):
            assert min(least * size, len(scores)) <= count <= len(scores)
            assert count % size == 0 or count == len(scores)
            if count < len(scores):  # the next group costs more than what is left of the budget
                assert spent + costs[kind] * len(scores[count : count + size]) > budget


def test_by_cost_what_scores_more_for_its_cost_stays():
    heads, neurons = [np.array([8.0, 1.0]), np.array([2.0, 6.0])], [np.array([1.0, 3.0]), np.array([0.1, 0.2])]
    counts = keep_by_cost(heads, neurons, costs=(4.0, 1.0), budget=10.0, align=1, allow_empty=True)
    # By score for cost: 3 (1 spent), 2 (5), 1.5 (9), 1 (10); nothing is left for the others.
    assert counts == ([1, 1], [2, 0])
    assert keep_by_cost(heads, neurons, costs=(4.0, 1.0), budget=10.0, align=1, allow_empty=False) == ([1, 1], [1, 1])


def test_by_cost_everything_fits_into_everything():
    heads, neurons = [np.ones(3)], [np.ones(20)]
    assert keep_by_cost(heads, neurons, costs=(5.0, 1.0), budget=35.0, align=8, allow_empty=False) == ([3], [20])


def test_by_cost_groups_of_equal_neurons_go_in_order():
    """The mean of three times 0.35 is a bit less than 0.35, which a last, smaller group's is."""
    neurons = [np.full(4, 0.35)]
    assert neurons[0][:3].mean() < 0.35
    counts = keep_by_cost([np.zeros(1)], neurons, costs=(9.0, 1.0), budget=3.0, align=3, allow_empty=True)
    assert counts == ([0], [3])


@pytest.mark.parametrize("head_cost", [1.1, 1.2, 1.35])
def test_a_budget_that_all_units_add_up_to_keeps_all_of_them(head_cost: float):
    generator = np.random.default_rng(0)
    heads, neurons = ([generator.random(count) for _ in range(6)] for count in (12, 1536))
    costs = (head_cost * 6_684_672.0, 98_304.0)
    found = keep_by_cost(
        heads, neurons, costs=costs, budget=sum([72 * costs[0], 9216 * costs[1]]), align=64, allow_empty=False
    )
    assert found == ([12] * 6, [1536] * 6)
