import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeprune.base.errors import UnreachableBudgetError
from edgeprune.pruning.loss_table import LayerLosses, LossTable
from edgeprune.search.allocation import allocate, allocate_each
from edgeprune.search.costs import Costs, LayerSize, TopCosts
from edgeprune.search.hidden_costs import HiddenCosts

WIDTHS = (0, 64, 128)


def table(*layers: tuple[list[float], list[float], float | None]) -> LossTable:
    """Losses by number of heads, losses by width, and the loss without the layer."""
    return LossTable(
        samples=8,
        layers=tuple(
            LayerLosses(
                index=2 * place,
                attention=tuple(attention),
                widths=WIDTHS[: len(ffn)],
                ffn=tuple(ffn),
                dropped=dropped,
                heads=tuple(range(len(attention) - 1)),
                neurons=tuple(range(WIDTHS[len(ffn) - 1])),
            )
            for place, (attention, ffn, dropped) in enumerate(layers)
        ),
    )


def whole_units(attention: list[int], ffn: list[int], top: tuple[list[int], list[int]] | None = None) -> Costs:
    return Costs(
        unit="ms",
        base=5,
        attention=tuple(attention),
        widths=WIDTHS,
        ffn=tuple(ffn),
        top=None if top is None else TopCosts(attention=tuple(top[0]), ffn=tuple(top[1])),
    )


def brute_force(costs: Costs, losses: LossTable, budget: float) -> float:
    """The least loss of all models that keep the budget; infinite if none does."""
    best = math.inf
    options: list[list[tuple[LayerSize | None, float]]] = []
    for layer in losses.layers:
        sizes: list[tuple[LayerSize | None, float]] = []
        for (heads, attention), (width, ffn) in itertools.product(
            enumerate(layer.attention), zip(layer.widths, layer.ffn, strict=True)
        ):
            empty = heads == width == 0
            sizes.append(((heads, width), max(attention + ffn, (layer.dropped or 0) if empty else 0)))
        options.append(sizes if layer.dropped is None else [*sizes, (None, layer.dropped)])
    for choice in itertools.product(*options):
        kept = [size for size, _ in choice if size is not None]
        if kept and costs.of(kept) <= budget:
            best = min(best, sum(loss for _, loss in choice))
    return best


falling = st.lists(st.integers(0, 50), min_size=1, max_size=3).map(lambda found: [*sorted(found, reverse=True), 0])
layer = st.tuples(falling, falling.map(lambda found: found[-3:]), st.none() | st.integers(0, 120))
growing = st.lists(st.integers(0, 9), min_size=4, max_size=4).map(lambda found: list(itertools.accumulate(found)))


parts = st.tuples(growing, growing.map(lambda found: found[:3]))


@example(layers=[([0, 0], [0, 0], 1), ([1, 0], [1, 0], None)], cost=([0, 1, 1, 1], [4, 7, 7]), top=None, budget=17)
@given(layers=st.lists(layer, min_size=1, max_size=3), cost=parts, top=st.none() | parts, budget=st.integers(1, 80))
def test_no_model_within_the_budget_loses_less(
    layers: list[tuple[list[float], list[float], float | None]],
    cost: tuple[list[int], list[int]],
    top: tuple[list[int], list[int]] | None,
    budget: int,
):
    costs, losses = whole_units(*cost, top=top), table(*layers)
    wanted = brute_force(costs, losses, budget)
    if math.isinf(wanted):
        with pytest.raises(UnreachableBudgetError) as refused:
            allocate(costs, losses, budget)
        assert math.isinf(brute_force(costs, losses, refused.value.least - 0.5))
        assert math.isfinite(brute_force(costs, losses, refused.value.least))
        return
    # One cost is rounded up by less than a ten-thousandth of the budget, and costs are whole numbers.
    found = allocate(costs, losses, budget + 0.01)
    assert found.loss == pytest.approx(wanted)
    assert found.cost == costs.of(found.sizes) <= budget
    assert found.layers


def test_all_is_kept_at_its_own_cost_and_the_cheapest_unit_goes_below_it():
    losses = table(([9, 5, 0], [9, 4, 0], 30), ([9, 3, 0], [9, 1, 0], 30))
    costs = whole_units([0, 2, 4], [0, 2, 4])
    whole = allocate(costs, losses, 5 + 16)
    assert (whole.loss, whole.cost, whole.sizes) == (0, 21, ((2, 128), (2, 128)))
    below = allocate(costs, losses, 5 + 15)
    assert (below.loss, below.sizes) == (1, ((2, 128), (2, 64)))
    assert [layer.index for layer in below.layers] == [0, 2]


def test_a_layer_that_does_nothing_is_dropped_at_no_cost():
    losses = table(([3, 2, 0], [3, 1, 0], 0.5), ([30, 20, 0], [30, 10, 0], 90))
    found = allocate(whole_units([1, 2, 4], [1, 2, 4]), losses, 5 + 8)
    assert [(layer.index, layer.heads, layer.neurons) for layer in found.layers] == [(2, 2, 128)]
    assert (found.loss, found.cost) == (0.5, 13)


def test_the_last_layer_stays_though_it_is_empty():
    losses = table(([3, 0], [3, 0], 1), ([3, 0], [3, 0], 1))
    found = allocate(whole_units([1, 2], [1, 2, 3]), losses, 5 + 2)
    assert found.sizes == ((0, 0),)
    assert found.loss == 1 + 6
    with pytest.raises(UnreachableBudgetError, match=r"of 6\.9 ms can't be reached: the least that .* here is 7 ms"):
        allocate(whole_units([1, 2], [1, 2, 3]), losses, 6.9)


def test_a_width_between_those_of_the_costs_costs_something_between():
    losses = LossTable(
        samples=8,
        layers=(
            LayerLosses(
                index=0,
                attention=(1, 0),
                widths=(0, 32),
                ffn=(9, 0),
                dropped=None,
                heads=(0,),
                neurons=tuple(range(32)),
            ),
        ),
    )
    assert allocate(whole_units([0, 1], [0, 4, 8]), losses, 9).cost == 5 + 1 + 2


def test_a_large_model_is_solved_as_well_as_its_relaxation():
    """With convex losses and costs of whole steps, an optimum takes the steps in the order of what they lose."""
    generator = np.random.default_rng(0)
    gains = [np.sort(generator.exponential(size=count)) for _ in range(12) for count in (12, 48)]
    losses = LossTable(
        samples=8,
        layers=tuple(
            LayerLosses(
                index=index,
                attention=(*np.cumsum(gains[2 * index])[::-1].tolist(), 0.0),
                widths=tuple(range(0, 3073, 64)),
                ffn=(*np.cumsum(gains[2 * index + 1])[::-1].tolist(), 0.0),
                dropped=None,
                heads=tuple(range(12)),
                neurons=tuple(range(3072)),
            )
            for index in range(12)
        ),
    )
    costs = Costs(
        unit="ms",
        base=1,
        attention=tuple(range(13)),
        widths=tuple(range(0, 3073, 64)),
        ffn=tuple(range(49)),
    )
    found = allocate(costs, losses, 1 + 400)
    assert found.cost == 1 + 400
    assert found.loss == pytest.approx(np.sort(np.concatenate(gains))[: 12 * 60 - 400].sum())


def test_the_most_important_units_are_those_that_stay():
    losses = LossTable(
        samples=8,
        layers=(
            LayerLosses(
                index=4,
                attention=(90, 50, 1, 0),
                widths=(0, 1, 3),
                ffn=(90, 1, 0),
                dropped=None,
                heads=(3, 0, 2),
                neurons=(5, 1, 3),
            ),
        ),
    )
    costs = Costs(unit="ms", base=0, attention=(0, 2, 4, 9), widths=(0, 1, 3), ffn=(0, 1, 9))
    (kept,) = allocate(costs, losses, 5).records(losses)
    assert (kept.index, kept.heads, kept.neurons) == (4, (0, 3), (5,))


ONE_LAYER = table(([9, 5, 0], [9, 4, 0], None))
SIZED = HiddenCosts({32: whole_units([2, 4, 8], [0, 4, 8]), 16: whole_units([1, 2, 4], [0, 2, 4])})


def test_each_hidden_size_has_its_own_sizes_of_layers() -> None:
    found = allocate_each(SIZED, ONE_LAYER, 5 + 8, hidden=32)
    assert list(found) == [32, 16]
    assert found[32] == allocate(SIZED.dense, ONE_LAYER, 5 + 8)
    assert found[32].loss > 0
    assert (found[16].hidden, found[16].loss, found[16].cost, found[16].sizes) == (16, 0, 13, ((2, 128),))


def test_a_model_is_never_made_wider() -> None:
    found = allocate_each(SIZED, ONE_LAYER, 100, hidden=16)
    assert list(found) == [16]
    assert (found[16].hidden, found[16].cost) == (None, 5 + 8)


def test_a_budget_that_only_a_narrower_model_keeps_is_kept() -> None:
    assert list(allocate_each(SIZED, ONE_LAYER, 6.5, hidden=32)) == [16]
    with pytest.raises(UnreachableBudgetError, match="the least that this model can take here is 6 ms"):
        allocate_each(SIZED, ONE_LAYER, 5.5, hidden=32)
