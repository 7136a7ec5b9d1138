"""Do the `layers` step: drop whole layers, which are named, evenly spaced, or chosen greedily by the task's metric.

`spaced` keeps the first layer, and lets every kept layer stand for as few as can be of those that follow it and go. Up to
half of the layers, that drops every other one from the last layer on (the alternate dropping of Sajjad et al.,
https://arxiv.org/abs/2004.03844). DistilBERT begins with one layer out of two (https://arxiv.org/abs/1910.01108).

`metric` tries in each turn to drop one more layer, measures the metric on rows of the selection split, and
keeps the try that hurts least (Peer et al., "Greedy-layer pruning", https://arxiv.org/abs/2105.14839). Only a shortlist
is tried: the layers that change their input least by block influence, 1 - cos(in, out) (Men et al.,
https://arxiv.org/abs/2403.03853).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch.nn import functional

from edgeprune.base.errors import UsageError
from edgeprune.base.wording import listed
from edgeprune.models.architectures import depth_of
from edgeprune.models.reader import unpadded
from edgeprune.models.resize import without_layer
from edgeprune.profiles.steps import LayersStep
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.layer_checks import check_dropped
from edgeprune.pruning.surgery import cut

__all__ = ["block_influence", "prune_layers", "spaced"]

_INFLUENCE_SAMPLES = 128


def prune_layers(step: LayersStep, pruned: Pruned, context: Context) -> None:
    """Drop the layers that the step names or asks for; at least one layer is left.

    Raises:
        UsageError: The model lacks a named layer, no layer would be left, or the model runs one layer many times.
    """
    layers = pruned.record.layers
    if depth_of(pruned.model.config) > 1:
        raise UsageError(
            f"layers: a {pruned.model.config.model_type!r} model runs one layer many times; this layer can't be dropped"
        )
    dense = [layer.index for layer in context.dense.layers]
    check_dropped(step, "layers", dense, [layer.index for layer in layers])
    if step.drop is not None:
        keep = tuple(layer for layer in layers if layer.index not in step.drop)
        pruned.record = cut(pruned.model, pruned.record, keep)
        return
    assert step.remove is not None  # noqa: S101 (the step's model demands one of the two)
    count = step.remove - (len(dense) - len(layers))
    if step.choose == "spaced":
        _keep_spaced(count, pruned, context)
        return
    for _ in range(count):
        position, metric = _least_missed(step, pruned, context)
        dropped = pruned.record.layers[position]
        context.note(f"layer {dropped.index} is dropped; without it, the metric on the selection split is {metric:.4f}")
        pruned.facts[f"metric_without_layer_{dropped.index}"] = metric
        left = tuple(layer for layer in pruned.record.layers if layer is not dropped)
        pruned.record = cut(pruned.model, pruned.record, left)


def spaced(left: Sequence[int], count: int, depth: int) -> tuple[int, ...]:
    """Choose layers that lie evenly over a model: the sum of the squared distances from each to the next is smallest.

    Of equally even choices, the one with the earlier layers is taken.

    Args:
        left: The positions of the layers to choose from, ascending. The first is always chosen.
        count: How many to choose, from 1 to all of them.
        depth: The number of layers in the whole model. It is the position that the last chosen layer's distance is to.
    """
    best: dict[int, tuple[int, tuple[int, ...]]] = {layer: ((depth - layer) ** 2, (layer,)) for layer in left}
    for _ in range(count - 1):
        best = {
            layer: min(
                (distances + (chosen[0] - layer) ** 2, (layer, *chosen))
                for distances, chosen in best.values()
                if chosen[0] > layer
            )
            for layer in left
            if layer < max(best)
        }
    return best[left[0]][1]


def _keep_spaced(count: int, pruned: Pruned, context: Context) -> None:
    """Drop so many layers that the others lie evenly over the dense model."""
    if count < 1:
        return
    where = context.dense.positions()
    by_position = {where[layer.index]: layer for layer in pruned.record.layers}
    kept = spaced(sorted(by_position), len(by_position) - count, len(context.dense.layers))
    dropped = [layer.index for position, layer in by_position.items() if position not in kept]
    context.note(f"dropped, so that the other layers lie evenly over the model: {listed(dropped)}")
    pruned.record = cut(pruned.model, pruned.record, tuple(by_position[position] for position in kept))


def block_influence(pruned: Pruned, context: Context) -> list[float]:
    """Compute for each layer 1 - the mean cosine between a token's states before and after the layer."""
    sums, tokens = torch.zeros(len(pruned.record.layers), dtype=torch.float64), 0
    with torch.inference_mode():
        for batch in context.batches(_INFLUENCE_SAMPLES):
            states = [unpadded(state, batch) for state in context.states(pruned.model, batch)]
            tokens += len(states[0])
            sums += torch.stack([functional.cosine_similarity(a, b, dim=-1).sum() for a, b in pairwise(states)])
    return [1.0 - float(total) / tokens for total in sums]


def _least_missed(step: LayersStep, pruned: Pruned, context: Context) -> tuple[int, float]:
    """Find the layer without which the metric is highest; return its position and that metric.

    Of several such layers, the layer with the least influence is taken.
    """
    influence = block_influence(pruned, context)
    positions = sorted(range(len(influence)), key=lambda position: influence[position])[: step.shortlist]
    tried = {}
    for position in positions:
        with without_layer(pruned.model, position):
            tried[position] = context.metric(step.samples)
        context.progress(len(tried), len(positions), "tries")
    best = max(tried, key=lambda position: tried[position])
    return best, tried[best]
