"""Cut whole layers, attention heads and FFN neurons out of a model, physically.

A head is `head_dim` rows of query, key and value and as many columns of the attention output; a neuron is one row of
the first FFN projection and one column of the second. The model's config keeps the dense sizes; what is left is in the
`PruningRecord`.
"""

from dataclasses import fields

import torch
from transformers import PreTrainedModel

from edgeprune.models.architectures import LayerParts, layers_of
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.models.resize import keep_layers, set_projection

__all__ = ["cut"]


def cut(model: PreTrainedModel, record: PruningRecord, keep: tuple[LayerRecord, ...]) -> PruningRecord:
    """Keep only the layers and units in `keep` (indices into the dense model) and return the new record.

    Args:
        model: Changed in place; has what `record` says.
        record: What is left of the dense model now.
        keep: A layer each, every index among those that `record` still has.
    """
    here = record.positions()
    keep_layers(model, [here[layer.index] for layer in keep])
    for position, (parts, after) in enumerate(zip(layers_of(model), keep, strict=True)):
        now = record.layers[here[after.index]]
        heads = _positions(now.heads, after.heads)
        columns = (heads[:, None] * record.head_dim + torch.arange(record.head_dim)).flatten()
        neurons = _positions(now.neurons, after.neurons)
        for field in fields(LayerParts):
            linear = getattr(parts, field.name)
            dim = 1 if field.name in ("attention_output", "ffn_out") else 0
            index = neurons if field.name in ("ffn_in", "ffn_out") else columns
            weight = linear.weight.detach().index_select(dim, index).contiguous()
            bias = linear.bias if linear.bias is None else linear.bias.detach()
            if dim == 0 and bias is not None:
                bias = bias.index_select(0, index).contiguous()
            set_projection(model, position, field.name, weight, bias, record.head_dim)
    return record.model_copy(update={"layers": keep})


def _positions(now: tuple[int, ...], after: tuple[int, ...]) -> torch.Tensor:
    where = {unit: position for position, unit in enumerate(now)}
    return torch.tensor([where[unit] for unit in after], dtype=torch.int64)
