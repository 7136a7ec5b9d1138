import numpy as np
import pytest
import torch

from edgeprune.base.errors import UsageError
from edgeprune.models.architectures import layers_of
from edgeprune.models.resize import without_layer
from edgeprune.profiles.steps import LayersStep
from edgeprune.pruning.layers import block_influence, prune_layers
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


@pytest.mark.parametrize("useless", [0, 1])
@pytest.mark.parametrize("shortlist", [None, 1])
def test_the_layer_that_does_least_goes_first(context: TinyContext, useless: int, shortlist: int | None):
    silence(context, useless)
    influence = block_influence(context.pruned, context)
    assert influence[useless] == min(influence)
    expected = context.outputs()
    prune_layers(LayersStep(method="layers", remove=1, shortlist=shortlist), context.pruned, context)
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
    prune_layers(LayersStep(method="layers", remove=1, shortlist=shortlist), context.pruned, context)
    assert sorted(tried) == [0, 1]
    assert left(context) == [1 - missed_least]
    assert context.pruned.facts == {f"metric_without_layer_{missed_least}": 0.8}


@pytest.mark.parametrize("useless", [0, 1])
def test_where_the_metric_is_the_same_the_layer_that_does_least_goes(context: TinyContext, useless: int):
    silence(context, useless)
    context.metric = lambda _samples: 0.5  # type: ignore[method-assign]
    prune_layers(LayersStep(method="layers", remove=1, shortlist=None), context.pruned, context)
    assert left(context) == [1 - useless]


def test_a_second_round_removes_what_is_still_to_go(context: TinyContext):
    step = LayersStep(method="layers", remove=1)
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
