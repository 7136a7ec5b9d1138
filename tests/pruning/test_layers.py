from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.base.errors import UsageError
from edgeprune.models.architectures import layers_of
from edgeprune.models.resize import without_layer
from edgeprune.profiles.steps import LayersStep
from edgeprune.pruning.layers import block_influence, prune_layers, spaced
from tests.conftest import ModelFactory
from tests.support.pruning_context import TinyContext


@pytest.fixture
def context(tiny_model_folder: ModelFactory) -> TinyContext:
    return TinyContext(tiny_model_folder())


def left(context: TinyContext) -> list[int]:
    assert len(layers_of(context.pruned.model)) == len(context.pruned.record.layers)
    return [layer.index for layer in context.pruned.record.layers]


def silence(context: TinyContext, position: int) -> None:
    """A layer that adds nothing to its input."""
    parts = layers_of(context.pruned.model)[position]
    with torch.no_grad():
        for linear in (parts.attention_output.linear, parts.ffn_out.linear):
            linear.weight.zero_()
            linear.bias.zero_()


def test_named_layers_go(context: TinyContext):
    prune_layers(LayersStep(method="layers", drop=(0,)), context.pruned, context)
    assert left(context) == [1]


@pytest.mark.parametrize(
    ("depth", "count", "kept"),
    [
        (6, 5, [0, 1, 2, 3, 4]),
        (6, 4, [0, 1, 2, 4]),
        (6, 3, [0, 2, 4]),
        (6, 2, [0, 3]),
        (6, 1, [0]),
        (12, 8, [0, 1, 2, 3, 4, 6, 8, 10]),
        (12, 6, [0, 2, 4, 6, 8, 10]),
        (12, 4, [0, 3, 6, 9]),
    ],
)
def test_layers_are_kept_evenly(depth: int, count: int, kept: list[int]):
    assert list(spaced(range(depth), count, depth)) == kept


@given(st.data())
def test_no_choice_is_more_even(data: st.DataObject):
    depth = data.draw(st.integers(1, 9))
    left = sorted(data.draw(st.sets(st.integers(0, depth - 1), min_size=1)))
    count = data.draw(st.integers(1, len(left)))

    def unevenness(kept: tuple[int, ...]) -> int:
        return sum((second - first) ** 2 for first, second in pairwise((*kept, depth)))

    choices = [(left[0], *others) for others in combinations(left[1:], count - 1)]
    assert spaced(left, count, depth) == min(choices, key=lambda kept: (unevenness(kept), kept))


@pytest.mark.parametrize("depth", [4, 6, 12])
def test_up_to_half_of_the_layers_go_one_by_one_as_all_at_once(depth: int):
    left: tuple[int, ...] = tuple(range(depth))
    for count in range(depth - 1, depth // 2 - 1, -1):
        left = spaced(left, count, depth)
        assert left == spaced(range(depth), count, depth)


def test_spaced_layers_are_by_the_dense_models_depth_and_need_no_metric(tiny_model_folder: ModelFactory):
    context = TinyContext(tiny_model_folder(layers=6))
    context.metric = None  # type: ignore[assignment, method-assign]
    prune_layers(LayersStep(method="layers", drop=(2,)), context.pruned, context)
    prune_layers(LayersStep(method="layers", remove=3), context.pruned, context)
    assert left(context) == [0, 1, 3]  # 0, 2, 4 would be most even, but 2 is gone; then 0, 1, 3 comes before 0, 3, 4
    prune_layers(LayersStep(method="layers", remove=3), context.pruned, context)
    assert left(context) == [0, 1, 3]
    prune_layers(LayersStep(method="layers", remove=4), context.pruned, context)
    assert left(context) == [0, 3]
    assert context.notes == [
        "dropped, so that the other layers lie evenly over the model: 4, 5",
        "dropped, so that the other layers lie evenly over the model: 1",
    ]
    assert context.asked == []


@pytest.mark.parametrize("useless", [0, 1])
@pytest.mark.parametrize("shortlist", [None, 1])
def test_the_layer_that_does_least_goes_first(context: TinyContext, useless: int, shortlist: int | None):
    silence(context, useless)
    influence = block_influence(context.pruned, context)
    assert influence[useless] == min(influence)
    expected = context.outputs()
    prune_layers(LayersStep(method="layers", remove=1, choose="metric", shortlist=shortlist), context.pruned, context)
    if shortlist == 1:
        assert left(context) == [1 - useless]
        torch.testing.assert_close(context.outputs(), expected, atol=1e-3, rtol=1e-3)
    (metric,) = context.pruned.facts.values()
    assert metric == context.metric(512)
    assert f"the metric on the selection split is {metric:.4f}" in context.notes[0]


def scripted(context: TinyContext, by_layer: dict[int, float]) -> list[int]:
    """Have the metric be what is said for the layer that is silenced while it is measured; the layers that were tried."""
    dense = context.outputs()
    without = {}
    for position in by_layer:
        with without_layer(context.pruned.model, position):
            without[position] = context.outputs()
    tried: list[int] = []

    def metric(_samples: int) -> float:
        now = context.outputs()
        assert not np.array_equal(now, dense)
        tried.append(next(position for position, outputs in without.items() if np.array_equal(now, outputs)))
        return by_layer[tried[-1]]

    context.metric = metric  # type: ignore[method-assign]
    return tried


@pytest.mark.parametrize("missed_least", [0, 1])
@pytest.mark.parametrize("shortlist", [None, 2])
def test_the_layer_without_which_the_metric_is_highest_goes(
    context: TinyContext, missed_least: int, shortlist: int | None
):
    tried = scripted(context, {missed_least: 0.8, 1 - missed_least: 0.7})
    prune_layers(LayersStep(method="layers", remove=1, choose="metric", shortlist=shortlist), context.pruned, context)
    assert sorted(tried) == [0, 1]
    assert left(context) == [1 - missed_least]
    assert context.pruned.facts == {f"metric_without_layer_{missed_least}": 0.8}


@pytest.mark.parametrize("useless", [0, 1])
def test_where_the_metric_is_the_same_the_layer_that_does_least_goes(context: TinyContext, useless: int):
    silence(context, useless)
    context.metric = lambda _samples: 0.5  # type: ignore[method-assign]
    prune_layers(LayersStep(method="layers", remove=1, choose="metric", shortlist=None), context.pruned, context)
    assert left(context) == [1 - useless]


def test_a_second_round_removes_what_is_still_to_go(context: TinyContext):
    step = LayersStep(method="layers", remove=1, choose="metric")
    prune_layers(step, context.pruned, context)
    now = left(context)
    prune_layers(step, context.pruned, context)
    assert left(context) == now


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (LayersStep(method="layers", drop=(2, 7)), "drop names layers 2, 7, but the model has 0, 1"),
        (LayersStep(method="layers", drop=(0, 1)), "needs at least one"),
        (
            LayersStep(method="layers", remove=2),
            "layers.remove is 2, but the model has 2 layers and at least one must stay",
        ),
    ],
)
def test_what_would_leave_no_model_is_refused(context: TinyContext, step: LayersStep, message: str):
    with pytest.raises(UsageError, match=message):
        prune_layers(step, context.pruned, context)


def test_layers_that_are_one_cannot_be_dropped(tiny_model_folder: ModelFactory):
    context = TinyContext(tiny_model_folder("albert"))
    with pytest.raises(UsageError, match="a 'albert' model runs one layer many times"):
        prune_layers(LayersStep(method="layers", remove=1), context.pruned, context)
