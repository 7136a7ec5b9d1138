from itertools import pairwise

import numpy as np
import pytest
import torch

from edgeprune.models.architectures import layers_of
from edgeprune.models.record import LayerRecord
from edgeprune.profiles.steps import LayersStep, VocabularyStep
from edgeprune.pruning import importance
from edgeprune.pruning.importance import Scores
from edgeprune.pruning.layers import prune_layers
from edgeprune.pruning.loss_table import LossTable
from edgeprune.pruning.losses import _by_count, _tried, estimate_losses
from edgeprune.pruning.surgery import cut
from edgeprune.pruning.vocabulary import prune_vocabulary
from tests.conftest import MODEL_TYPES, ModelFactory
from tests.support.pruning_context import TinyContext


def table(context: TinyContext, align: int = 32) -> LossTable:
    return estimate_losses(context.pruned, context, samples=48, align=align, ridge=1e-2)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_less_of_a_layer_never_loses_less_and_the_model_stays_as_it_is(
    tiny_model_folder: ModelFactory, model_type: str
):
    context = TinyContext(tiny_model_folder(model_type))
    before = context.outputs()
    found = table(context)
    np.testing.assert_array_equal(context.outputs(), before)
    assert len(found.layers) == len(context.dense.layers)
    for layer in found.layers:
        assert layer.widths == (0, 32, 64, 96, 128)
        assert sorted(layer.heads) == list(range(4))
        assert sorted(layer.neurons) == list(range(128))
        for losses in (layer.attention, layer.ffn):
            assert losses[-1] == 0 < losses[0]
            assert all(fewer >= more for fewer, more in pairwise(losses))
        if model_type == "albert":
            assert layer.dropped is None
        else:
            assert layer.dropped is not None
            assert layer.dropped > 0


def silence(context: TinyContext, position: int, heads: list[int], neurons: list[int]) -> None:
    """Have these units of a layer add nothing."""
    parts = layers_of(context.pruned.model)[position]
    with torch.no_grad():
        for head in heads:
            parts.attention_output.linear.weight[:, 8 * head : 8 * head + 8] = 0
        parts.ffn_out.linear.weight[:, neurons] = 0


def test_units_that_add_nothing_go_first_and_lose_nothing(tiny_model_folder: ModelFactory):
    context = TinyContext(tiny_model_folder())
    silence(context, 1, [0, 2], list(range(32, 128)))
    layer = table(context).layers[1]
    assert set(layer.heads[:2]) == {1, 3}
    assert set(layer.neurons[:32]) == set(range(32))
    assert layer.attention[2:] == pytest.approx([0, 0, 0], abs=1e-7)
    assert layer.ffn[1:] == pytest.approx([0, 0, 0, 0], abs=1e-7)
    assert layer.attention[1] > 1e-6
    assert layer.ffn[0] > 1e-6


def test_what_repair_makes_up_for_is_no_loss(tiny_model_folder: ModelFactory):
    """Heads that all see the same can be replaced by any one of them, though each adds something of its own."""
    context = TinyContext(tiny_model_folder())
    with torch.no_grad():
        for projection in layers_of(context.pruned.model)[0].attention_inputs:
            for values in (projection.linear.weight, projection.linear.bias):
                values[8:] = torch.cat([values[:8]] * 3)
    found = estimate_losses(context.pruned, context, samples=48, align=64, ridge=1e-6).layers[0]
    assert found.attention[1] < 1e-3 * found.attention[0]


def test_what_is_left_of_a_pruned_model_has_the_dense_models_numbers(tiny_model_folder: ModelFactory):
    context = TinyContext(tiny_model_folder(layers=3))
    prune_vocabulary(VocabularyStep(method="vocabulary"), context.pruned, context)
    prune_layers(LayersStep(method="layers", drop=(0,)), context.pruned, context)
    left = (
        LayerRecord(index=1, heads=(0, 3), neurons=tuple(range(10, 60))),
        LayerRecord(index=2, heads=(), neurons=()),
    )
    context.pruned.record = cut(context.pruned.model, context.pruned.record, left)
    some, none = table(context).layers
    assert (some.index, none.index) == (1, 2)
    assert sorted(some.heads) == [0, 3]
    assert some.widths == (0, 32, 50)
    assert sorted(some.neurons) == list(range(10, 60))
    assert (none.attention, none.widths, none.ffn) == ((0.0,), (0,), (0.0,))


def test_the_last_layer_can_not_be_dropped(tiny_model_folder: ModelFactory):
    context = TinyContext(tiny_model_folder())
    prune_layers(LayersStep(method="layers", drop=(1,)), context.pruned, context)
    (layer,) = table(context).layers
    assert layer.dropped is None


def test_a_projection_is_judged_on_rows_that_it_was_not_solved_on(tiny_model_folder: ModelFactory):
    context = TinyContext(tiny_model_folder(), rows=20)
    drawn: list[tuple[int, int]] = []
    batches = context.batches

    def watched(samples: int, *, skip: int = 0, size: int | None = None):  # noqa: ANN202 (an iterator of batches)
        drawn.append((skip, samples))
        return batches(samples, skip=skip, size=size)

    context.batches = watched  # type: ignore[method-assign]
    assert table(context).samples == 20, "more are not there"
    assert drawn[1:] == [(0, 10), (10, 20)]


def test_both_what_outputs_depend_on_and_what_can_not_be_made_up_for_is_kept(
    tiny_model_folder: ModelFactory, monkeypatch: pytest.MonkeyPatch
):
    context = TinyContext(tiny_model_folder())
    parts = layers_of(context.pruned.model)[0]
    with torch.no_grad():
        parts.ffn_out.linear.weight[:, 7] *= 100

    def fisher(*_given: object) -> Scores:
        """Scores by which neuron 5 alone matters, and heads in the order 3, 2, 1, 0."""
        return Scores([100 * np.arange(4.0)] * 2, [np.eye(128)[5]] * 2)

    monkeypatch.setattr(importance, "fisher", fisher)
    found = table(context).layers[0]
    assert set(found.neurons[:2]) == {5, 7}
    assert found.heads[0] == 3


def test_few_sizes_are_tried_and_those_between_lie_between():
    counts = list(range(0, 1537, 64))
    assert [kept // 64 for kept in _tried(counts)] == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24]
    assert _tried([0]) == [0]
    assert _tried([0, 50]) == [0, 50]
    assert _by_count([0, 1, 2, 3, 4], [0, 1, 2, 4], [5.0, 1.0, 3.0, 0.0]) == pytest.approx((5, 2, 2, 1, 0))
