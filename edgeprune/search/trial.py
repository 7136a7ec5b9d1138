"""Choose the hidden size of a rung: make the model of each hidden size that keeps the budget, and compare their outputs.

The losses of single layers add up to an order of models of one hidden size, but the sum is less than what such a model
loses. What narrowing loses is no such sum, for it changes all layers at once. So the models are compared as a whole: each
is cut and repaired, and its outputs are compared with the dense model's, on rows that projections weren't solved on.
"""

from collections.abc import Mapping
from copy import deepcopy

import torch

from edgeprune.profiles.steps import ReconstructStep
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.loss_table import LossTable
from edgeprune.pruning.losses import distance
from edgeprune.pruning.reconstruct import prune_reconstruct
from edgeprune.pruning.stream import narrow_to
from edgeprune.pruning.surgery import cut
from edgeprune.search.allocation import Allocation

__all__ = ["cut_to", "nearest"]


def cut_to(allocation: Allocation, losses: LossTable, pruned: Pruned) -> None:
    """Give a model the sizes of an allocation. The most important dimensions, layers and units stay.

    Args:
        allocation: The sizes.
        losses: The table by which they were chosen. It orders what the model has.
        pruned: The model, which is changed in place.
    """
    if allocation.hidden is not None:
        narrow_to(sorted(losses.dimensions[: allocation.hidden]), pruned)
    pruned.record = cut(pruned.model, pruned.record, allocation.records(losses))


def nearest(
    found: Mapping[int, Allocation], losses: LossTable, pruned: Pruned, context: Context, *, step: ReconstructStep
) -> Allocation:
    """Choose the allocation whose model gives outputs nearest to the dense model's, after repair.

    Args:
        found: The allocations by the hidden size, from the largest down.
        losses: The table by which they were chosen.
        pruned: The model, which is left as it is.
        context: The task, the data and the dense model.
        step: How projections are solved again. One half of its rows solves them, and the other half judges.

    Returns:
        The allocation, with the distances of all.
    """
    if len(found) == 1:
        return next(iter(found.values()))
    rows = max(2, min(step.samples, len(context.contents)))
    half, batches = step.model_copy(update={"samples": rows // 2}), list(context.batches(rows, skip=rows // 2))
    dense = context.dense_model()
    with torch.inference_mode():
        wanted = [context.run(dense, context.dense_batch(batch)) for batch in batches]
    del dense
    distances = {}
    for size, allocation in found.items():
        tried = Pruned(deepcopy(pruned.model), pruned.record, pruned.reader)
        cut_to(allocation, losses, tried)
        prune_reconstruct(half, tried, context)
        with torch.inference_mode():
            outputs = [context.run(tried.model, batch) for batch in batches]
        distances[size] = distance(context, batches, outputs, wanted)
    size = min(distances, key=lambda size: distances[size])  # of equal distances, the larger hidden size
    return found[size].model_copy(update={"distances": distances})
