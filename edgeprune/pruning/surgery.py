"""Cut whole attention heads and FFN neurons out of a model, physically.

A head is `head_dim` rows of query, key and value and as many columns of the attention output; a neuron is one row of
the first FFN projection and one column of the second. The model's config keeps the dense sizes; what is left is in the
`PruningRecord`.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

from edgeprune.models.architectures import layers_of
from edgeprune.models.checkpoint import LayerRecord, PruningRecord

__all__ = ["cut"]


def cut(model: PreTrainedModel, record: PruningRecord, keep: tuple[LayerRecord, ...]) -> PruningRecord:
    """Keep only the units in `keep` (indices into the dense model) and return the new record.

    Args:
        model: Changed in place; has what `record` says.
        record: What is left of the dense model now.
        keep: A layer each, every index among those that `record` still has.
    """
    for parts, now, after in zip(layers_of(model), record.layers, keep, strict=True):
        heads = _positions(now.heads, after.heads)
        rows = (heads[:, None] * record.head_dim + torch.arange(record.head_dim)).flatten()
        for linear in (parts.query, parts.key, parts.value):
            _select(linear, rows, dim=0)
        _select(parts.attention_output, rows, dim=1)
        neurons = _positions(now.neurons, after.neurons)
        _select(parts.ffn_in, neurons, dim=0)
        _select(parts.ffn_out, neurons, dim=1)
    return record.model_copy(update={"layers": keep})


def _positions(now: tuple[int, ...], after: tuple[int, ...]) -> torch.Tensor:
    where = {unit: position for position, unit in enumerate(now)}
    return torch.tensor([where[unit] for unit in after], dtype=torch.int64)


def _select(linear: nn.Linear, index: torch.Tensor, *, dim: int) -> None:
    linear.weight = nn.Parameter(linear.weight.detach().index_select(dim, index).contiguous())
    if dim == 0 and linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach().index_select(0, index).contiguous())
    linear.out_features, linear.in_features = linear.weight.shape
