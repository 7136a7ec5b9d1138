"""Cut whole layers, attention heads and FFN neurons out of a model, physically.

A head is `head_dim` rows of queries, keys and values, and as many columns of the attention output. A neuron is a row of
the FFN's first projection (two rows if the FFN is gated), and a column of its second projection. The model's config
keeps the dense sizes; the `PruningRecord` says what is left.
"""

import torch
from transformers import PreTrainedModel

from edgeprune.models.architectures import Projection, layers_of
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.models.resize import keep_layers, set_heads, set_projection

__all__ = ["cut", "unit_index"]


def cut(model: PreTrainedModel, record: PruningRecord, keep: tuple[LayerRecord, ...]) -> PruningRecord:
    """Keep only the layers and units in `keep` (indices into the dense model) and return the new record.

    Args:
        model: The model, which is changed in place and has the layers and units in `record`.
        record: What is left of the dense model now.
        keep: The layers to keep. Every index must be one that `record` still has.
    """
    here = record.positions()
    keep_layers(model, [here[layer.index] for layer in keep])
    for position, (parts, after) in enumerate(zip(layers_of(model), keep, strict=True)):
        now = record.layers[here[after.index]]
        for projection in parts.projections:
            index = unit_index(projection, now, after, record.head_dim)
            linear = projection.linear
            weight = linear.weight.detach()
            bias = None if linear.bias is None else linear.bias.detach()
            if projection.side == "out":
                weight = weight.index_select(0, index)
                bias = None if bias is None else bias.index_select(0, index)
            else:
                weight = weight.index_select(1, index)
            set_projection(model, position, projection, weight, bias, record.head_dim)
        set_heads(model, position, after.heads, record.head_dim)
    return record.model_copy(update={"layers": keep})


def unit_index(projection: Projection, now: LayerRecord, after: LayerRecord, head_dim: int) -> torch.Tensor:
    """Find the rows (or columns, if the units are inputs) of a projection that belong to the units that are kept.

    Args:
        projection: A projection with the units in `now`.
        now: The layer as it is.
        after: The layer as it will be. Every unit must be one that `now` has.
        head_dim: Width of a head.
    """
    if projection.unit == "head":
        heads = _positions(now.heads, after.heads)
        index, width = (heads[:, None] * head_dim + torch.arange(head_dim)).flatten(), len(now.heads) * head_dim
    else:
        index, width = _positions(now.neurons, after.neurons), len(now.neurons)
    return torch.cat([index + block * width for block in range(projection.blocks)])


def _positions(now: tuple[int, ...], after: tuple[int, ...]) -> torch.Tensor:
    where = {unit: position for position, unit in enumerate(now)}
    return torch.tensor([where[unit] for unit in after], dtype=torch.int64)
