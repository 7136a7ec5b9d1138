"""Resize a model's layers and projections, down to zero.

A layer without heads adds only its attention output's bias. A layer without neurons adds only its second projection's
bias. Families reshape queries to [batch, tokens, -1, head_dim], which is ambiguous for zero columns. An empty
projection therefore gives one head of zeros, which the empty attention output doesn't read, so that exported graphs
have neither. Families that don't infer a layer's number of heads from the projections are told it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from edgeprune.base.errors import ModelError
from edgeprune.models.architectures import Projection, architecture_of, layers_of
from edgeprune.models.factored import factor_embedding, token_table
from edgeprune.models.record import PruningRecord
from edgeprune.models.width import hidden_size_of, keep_hidden

__all__ = ["keep_layers", "keep_tokens", "resize", "set_heads", "set_projection", "without_layer"]


class _NothingOut(nn.Linear):
    """Stand for a projection without outputs, and give `shown` zeros instead."""

    def __init__(self, in_features: int, shown: int, *, bias: bool) -> None:
        super().__init__(in_features, 0, bias=bias, device="meta")
        self._shown = shown

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Turn [batch, tokens, in] into zeros [batch, tokens, shown]."""
        return states.new_zeros(*states.shape[:-1], self._shown)


class _NothingIn(nn.Linear):
    """Stand for a projection without inputs, and give its bias for any input."""

    def __init__(self, out_features: int, *, bias: bool) -> None:
        super().__init__(0, out_features, bias=bias, device="meta")

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Turn [batch, tokens, …] into the bias, [batch, tokens, out]."""
        zeros = states.new_zeros(*states.shape[:-1], self.out_features)
        return zeros if self.bias is None else zeros + self.bias


class _OwnHeads:
    """Cut an argument that is the same in all layers to the part for a module's own heads."""

    def __init__(self, argument: int, heads: Sequence[int]) -> None:
        self._argument = argument
        self._heads = list(heads)

    def __call__(self, _module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Select from [batch, heads of the dense model, …]. Without heads, the first goes with the head of zeros."""
        before, after = arguments[: self._argument], arguments[self._argument + 1 :]
        return (*before, arguments[self._argument][:, self._heads or [0]], *after)


def set_projection(
    model: PreTrainedModel,
    position: int,
    projection: Projection,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    head_dim: int,
) -> None:
    """Replace one projection.

    Args:
        model: The model, changed in place.
        position: The layer's position among the layers that are left.
        projection: The projection to replace.
        weight: The new weight, [out, in]; either may be 0.
        bias: The new bias, [out], or None.
        head_dim: Width of a head.
    """
    out_features, in_features = weight.shape
    has_bias = bias is not None
    if out_features == 0:
        shown = projection.blocks * (head_dim if projection.unit == "head" else 1)
        linear: nn.Linear = _NothingOut(in_features, shown, bias=has_bias)
    elif in_features == 0:
        linear = _NothingIn(out_features, bias=has_bias)
    else:
        linear = nn.Linear(in_features, out_features, bias=has_bias, device="meta")
    linear.weight = nn.Parameter(weight)
    if bias is not None:
        linear.bias = nn.Parameter(bias)
    _layers(model)[position].set_submodule(projection.path, linear, strict=True)


def set_heads(model: PreTrainedModel, position: int, heads: Sequence[int], head_dim: int) -> None:
    """Tell a layer which of the dense model's heads it has, where its family doesn't infer them from the projections.

    Args:
        model: The model, changed in place.
        position: The layer's position among the layers that are left.
        heads: The heads' numbers in the dense model. A layer without heads computes one head of zeros.
        head_dim: Width of a head.
    """
    architecture, layer = architecture_of(model.config), _layers(model)[position]
    count = max(1, len(heads))
    for path, value in ((architecture.head_count, count), (architecture.heads_width, count * head_dim)):
        if path is not None:
            owner, _, name = path.rpartition(".")
            setattr(layer.get_submodule(owner), name, value)
    if architecture.head_argument is not None:
        path, argument = architecture.head_argument
        attention = layer.get_submodule(path)
        hooks = attention._forward_pre_hooks  # noqa: SLF001 (a handle would have to be kept somewhere)
        for number in [number for number, hook in hooks.items() if isinstance(hook, _OwnHeads)]:
            del hooks[number]
        if list(heads) != list(range(model.config.num_attention_heads)):
            attention.register_forward_pre_hook(_OwnHeads(argument, heads))


def keep_layers(model: PreTrainedModel, positions: Sequence[int]) -> None:
    """Keep the layers at these positions, in their order."""
    layers = _layers(model)
    _replace(layers, [layers[position] for position in positions])


@contextmanager
def without_layer(model: PreTrainedModel, position: int) -> Iterator[None]:
    """Leave the layer at this position out of the model inside the block."""
    layers = _layers(model)
    everything = list(layers)
    del layers[position]
    try:
        yield
    finally:
        _replace(layers, everything)


def keep_tokens(model: PreTrainedModel, tokens: Sequence[int]) -> None:
    """Keep these rows of the token embedding, and of the decoder where the model has one. Tied weights stay tied."""
    embedding, decoder = token_table(model), model.get_output_embeddings()
    index = torch.tensor(tokens, dtype=torch.int64)
    if embedding.padding_idx is not None:
        embedding.padding_idx = list(tokens).index(embedding.padding_idx)
    embedding.num_embeddings = len(tokens)
    if decoder is not None:
        decoder.out_features = len(tokens)
    owned = {id(value) for part in (embedding, decoder) if part is not None for value in part.parameters()}
    names = {name for name, value in model.named_parameters(remove_duplicate=False) if id(value) in owned}
    # A prediction head names the decoder's bias once more; in a model without weights that is another tensor.
    for pair in model.all_tied_weights_keys.items():
        names |= set(pair) if names & set(pair) else set()
    kept: dict[int, nn.Parameter] = {}
    for name in names:
        old = model.get_parameter(name)
        if id(old) not in kept:
            kept[id(old)] = nn.Parameter(_rows(old, index))
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, kept[id(old)])
    model.tie_weights()


def resize(model: PreTrainedModel, record: PruningRecord) -> None:
    """Give a dense model without weights the sizes that a record states.

    Raises:
        ModelError: The record names layers or hidden dimensions that the model doesn't have.
    """
    dense = len(layers_of(model))
    positions = [layer.index for layer in record.layers]
    if positions != sorted(set(positions)) or not all(0 <= position < dense for position in positions):
        raise ModelError(
            f"pruning.json keeps the layers {positions}, but config.json has {dense} layers; the files don't belong together"
        )
    keep_layers(model, positions)
    for position, (parts, kept) in enumerate(zip(layers_of(model), record.layers, strict=True)):
        units = {"head": len(kept.heads) * record.head_dim, "neuron": len(kept.neurons)}
        for projection in parts.projections:
            linear, width = projection.linear, units[projection.unit]
            rows, columns = linear.out_features, linear.in_features
            if projection.side == "out":
                rows = projection.blocks * width
            else:
                columns = width
            bias = None if linear.bias is None else torch.empty(rows)
            set_projection(model, position, projection, torch.empty(rows, columns), bias, record.head_dim)
        set_heads(model, position, kept.heads, record.head_dim)
    if record.vocabulary is not None:
        keep_tokens(model, record.vocabulary)
    if record.hidden is not None:
        width, dimensions = hidden_size_of(model), list(record.hidden)
        known = all(0 <= dimension < width for dimension in dimensions)
        if not dimensions or dimensions != sorted(set(dimensions)) or not known:
            raise ModelError(
                f"pruning.json keeps {len(dimensions)} dimensions of the hidden states that aren't among the {width} of config.json "
                f"in their order; the files don't belong together"
            )
        keep_hidden(model, dimensions)
    if record.embedding_rank is not None:
        factor_embedding(model, record.embedding_rank)


def _layers(model: PreTrainedModel) -> nn.ModuleList:
    layers = model.base_model.get_submodule(architecture_of(model.config).layers)
    assert isinstance(layers, nn.ModuleList)  # noqa: S101 (the table says so)
    return layers


def _replace(layers: nn.ModuleList, modules: list[nn.Module]) -> None:
    del layers[:]
    layers.extend(modules)


def _rows(weight: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return weight.detach().index_select(0, index.to(weight.device)).contiguous()
