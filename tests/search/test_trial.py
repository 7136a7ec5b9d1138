"""edgeprune/search/trial.py: models of several hidden sizes, compared as a whole."""

import numpy as np
import torch

from edgeprune.models.width import hidden_size_of, stream_axes
from edgeprune.profiles.steps import ReconstructStep
from edgeprune.pruning.losses import estimate_losses
from edgeprune.pruning.stream import ordered_dimensions
from edgeprune.search.allocation import Allocation, LayerAllocation
from edgeprune.search.trial import cut_to, nearest
from tests.conftest import ModelFactory
from tests.support.pruning_context import TinyContext

STEP = ReconstructStep(method="reconstruct", samples=48)


def allocation(heads: int, neurons: int, hidden: int | None) -> Allocation:
    layers = tuple(LayerAllocation(index=index, heads=heads, neurons=neurons) for index in range(2))
    return Allocation(budget=1, unit="ms", cost=1, loss=0, layers=layers, hidden=hidden)


def test_the_nearest_to_the_dense_model_is_chosen_and_the_model_stays_as_it_is(tiny_model_folder: ModelFactory):
    """Half of the dimensions are next to nothing, so that layers of all units lose less in the other half."""
    context = TinyContext(tiny_model_folder())
    pruned, before = context.pruned, context.outputs()
    losses = estimate_losses(pruned, context, samples=48, align=64, ridge=1e-2).model_copy(
        update={"dimensions": ordered_dimensions(pruned, context, samples=48)}
    )
    whole, narrowed, emptied = allocation(4, 128, None), allocation(4, 128, 24), allocation(0, 0, None)
    found = nearest({32: whole, 24: narrowed}, losses, pruned, context, step=STEP)
    assert found.model_copy(update={"distances": {}}) == whole
    assert list(found.distances) == [32, 24]
    assert 0 <= found.distances[32] < found.distances[24]
    other = nearest({32: emptied, 24: narrowed}, losses, pruned, context, step=STEP)
    assert other.hidden == 24
    assert other.distances[24] == found.distances[24] < other.distances[32]
    assert nearest({32: emptied}, losses, pruned, context, step=STEP) == emptied, "there is nothing to compare"
    np.testing.assert_array_equal(context.outputs(), before)

    cut_to(narrowed, losses, pruned)
    assert hidden_size_of(pruned.model) == 24
    assert pruned.record.hidden == tuple(sorted(losses.dimensions[:24]))


def test_dimensions_in_which_nothing_happens_are_the_least_important(tiny_model_folder: ModelFactory):
    context = TinyContext(tiny_model_folder())
    model, dead = context.pruned.model, torch.tensor([0, 3, 17])
    with torch.no_grad():
        for name, axes in stream_axes(model).items():
            for axis in axes:
                model.get_parameter(name).index_fill_(axis, dead, 0.0)
    context.pruned.record = context.pruned.record.model_copy(update={"hidden": tuple(range(100, 132))})
    found = ordered_dimensions(context.pruned, context, samples=48)
    assert sorted(found) == list(range(100, 132))
    assert set(found[-3:]) == {100, 103, 117}, "in the dense model's numbers"
