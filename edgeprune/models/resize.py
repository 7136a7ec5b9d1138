"""Bring a model's layers and projections to other sizes, zero included.

A layer without heads adds its attention output's bias, one without neurons its second projection's. Families reshape
queries to [batch, tokens, -1, head_dim], which zero columns make ambiguous, so an empty projection gives one head of
zeros, which an empty attention output then doesn't read: exported graphs have neither.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from edgeprune.errors import ModelError
from edgeprune.models.architectures import architecture_of, layers_of
from edgeprune.models.record import PruningRecord

__all__ = ["keep_layers", "keep_tokens", "resize", "set_projection", "without_layer"]


class _NothingOut(nn.Linear):
    """A projection without outputs, which shows its reader `shown` zeros."""

    def __init__(self, in_features: int, shown: int, *, bias: bool) -> None:
        super().__init__(in_features, 0, bias=bias, device="meta")
        self._shown = shown

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[batch, tokens, in] to zeros [batch, tokens, shown]."""
        return states.new_zeros(*states.shape[:-1], self._shown)


class _NothingIn(nn.Linear):
    """A projection without inputs: its bias, whatever it is shown."""

    def __init__(self, out_features: int, *, bias: bool) -> None:
        super().__init__(0, out_features, bias=bias, device="meta")

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[batch, tokens, …] to [batch, tokens, out]."""
        zeros = states.new_zeros(*states.shape[:-1], self.out_features)
        return zeros if self.bias is None else zeros + self.bias


def set_projection(
    model: PreTrainedModel, position: int, part: str, weight: torch.Tensor, bias: torch.Tensor | None, head_dim: int
) -> None:
    """Replace one projection.

    Args:
        model: Changed in place.
        position: Of the layer among those that are left.
        part: A field of `LayerParts`.
        weight: [out, in]; either may be 0.
        bias: [out], or None.
        head_dim: Width of a head.
    """
    architecture = architecture_of(model.config)
    layer = model.base_model.get_submodule(architecture.layers)[position]
    out_features, in_features = weight.shape
    has_bias = bias is not None
    if out_features == 0:
        linear: nn.Linear = _NothingOut(in_features, 1 if part == "ffn_in" else head_dim, bias=has_bias)
    elif in_features == 0:
        linear = _NothingIn(out_features, bias=has_bias)
    else:
        linear = nn.Linear(in_features, out_features, bias=has_bias, device="meta")
    linear.weight = nn.Parameter(weight)
    if bias is not None:
        linear.bias = nn.Parameter(bias)
    layer.set_submodule(getattr(architecture, part), linear, strict=True)


def keep_layers(model: PreTrainedModel, positions: Sequence[int]) -> None:
    """Keep the layers at these positions, in their order."""
    layers = model.base_model.get_submodule(architecture_of(model.config).layers)
    _replace(layers, [layers[position] for position in positions])


@contextmanager
def without_layer(model: PreTrainedModel, position: int) -> Iterator[None]:
    """Inside, the model lacks the layer at this position."""
    layers = model.base_model.get_submodule(architecture_of(model.config).layers)
    everything = list(layers)
    del layers[position]
    try:
        yield
    finally:
        _replace(layers, everything)


def keep_tokens(model: PreTrainedModel, tokens: Sequence[int]) -> None:
    """Keep these rows of the token embedding, and of the decoder where the model has one (tied again if it was)."""
    embedding, decoder = model.get_input_embeddings(), model.get_output_embeddings()
    index = torch.tensor(tokens, dtype=torch.int64)
    if embedding.padding_idx is not None:
        embedding.padding_idx = list(tokens).index(embedding.padding_idx)
    embedding.weight = nn.Parameter(_rows(embedding.weight, index))
    embedding.num_embeddings = len(tokens)
    if decoder is None:
        return
    decoder.weight = nn.Parameter(_rows(decoder.weight, index))
    decoder.out_features = len(tokens)
    if decoder.bias is not None:
        old = decoder.bias
        kept = nn.Parameter(_rows(old, index))
        for module in model.modules():  # the prediction head names the decoder's bias once more
            if module._parameters.get("bias") is old:  # noqa: SLF001
                module.bias = kept
    model.tie_weights()


def resize(model: PreTrainedModel, record: PruningRecord) -> None:
    """Give a dense model, its weights still empty, the sizes of a record.

    Raises:
        ModelError: The record names layers that the model doesn't have.
    """
    dense = len(layers_of(model))
    positions = [layer.index for layer in record.layers]
    if positions != sorted(set(positions)) or not all(0 <= position < dense for position in positions):
        raise ModelError(
            f"pruning.json keeps the layers {positions}, config.json has {dense}; the files don't belong together"
        )
    keep_layers(model, positions)
    for position, (parts, kept) in enumerate(zip(layers_of(model), record.layers, strict=True)):
        heads, neurons = len(kept.heads) * record.head_dim, len(kept.neurons)
        sizes = {
            "query": (heads, parts.query.in_features),
            "key": (heads, parts.key.in_features),
            "value": (heads, parts.value.in_features),
            "attention_output": (parts.attention_output.out_features, heads),
            "ffn_in": (neurons, parts.ffn_in.in_features),
            "ffn_out": (parts.ffn_out.out_features, neurons),
        }
        for part, (rows, columns) in sizes.items():
            bias = None if getattr(parts, part).bias is None else torch.empty(rows)
            set_projection(model, position, part, torch.empty(rows, columns), bias, record.head_dim)
    if record.vocabulary is not None:
        keep_tokens(model, record.vocabulary)


def _replace(layers: nn.ModuleList, modules: list[nn.Module]) -> None:
    del layers[:]
    layers.extend(modules)


def _rows(weight: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return weight.detach().index_select(0, index.to(weight.device)).contiguous()
