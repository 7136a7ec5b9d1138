"""Narrow a model's residual stream: keep some of its dimensions everywhere, physically.

Every sublayer reads the residual stream and adds to it, so all of them share its dimensions: the embeddings, the norms,
the projections that read or write hidden states, the pooler and the heads. A dimension is one row or one column of each
of these weights:

    token embedding         [tokens, hidden]         queries, keys, values     [units, hidden]
    norm                    [hidden]                 attention output          [hidden, units]
    pooler                  [hidden, hidden]         classifier                [labels, hidden]

Where an axis is one of the stream's is found by making the model's class without weights a second time, twice as wide:
these axes are the ones that grow with it. In the layers, heads grow too, so the table of architectures decides there.
An embedding that has a size of its own and is projected to the stream (ALBERT, most ELECTRA) keeps its size.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import PreTrainedModel

from edgeprune.base.errors import ModelError
from edgeprune.models.architectures import architecture_of, layers_of
from edgeprune.models.factored import embedding_rank, factor_embedding

__all__ = ["head_readers", "hidden_size_of", "keep_hidden", "stream_axes"]


def hidden_size_of(model: PreTrainedModel) -> int:
    """Return the number of dimensions that the hidden states have."""
    return layers_of(model)[0].attention_output.linear.out_features


def stream_axes(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Find the axes of every parameter that are the residual stream's.

    Args:
        model: A model, dense or pruned.

    Returns:
        By the parameter's name, its axes. Parameters without such an axis aren't named; tied ones have all their names.
    """
    inside = f"{_base_prefix(model)}{architecture_of(model.config).layers}."
    dense, wider = (_shapes(model, times) for times in (1, 2))
    axes = dict(_axes_of_layers(model, inside))
    for name, _ in model.named_parameters(remove_duplicate=False):
        if not name.startswith(inside):
            pairs = zip(dense[name], wider[name], strict=True)
            axes[name] = tuple(axis for axis, (size, grown) in enumerate(pairs) if size != grown)
    return {name: found for name, found in axes.items() if found}


def keep_hidden(model: PreTrainedModel, positions: Sequence[int]) -> None:
    """Keep these dimensions of the residual stream. Tied weights stay tied.

    Args:
        model: The model, changed in place.
        positions: Positions among the dimensions that the model has now, ascending.

    Raises:
        ModelError: A convolution reads the stream in groups, which can't be narrowed.
    """
    index = torch.tensor(positions, dtype=torch.int64)
    axes = stream_axes(model)
    for name in axes:
        owner = model.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, nn.Conv1d | nn.Conv2d) and owner.groups > 1:
            raise ModelError(
                f"{name.rpartition('.')[0]} is a convolution of the hidden states in {owner.groups} groups, so that the "
                f"hidden size can't be pruned; leave keep_hidden out"
            )
    kept: dict[int, nn.Parameter] = {}
    for name, stream in axes.items():
        old = model.get_parameter(name)
        if id(old) not in kept:
            value = old.detach()
            for axis in stream:
                value = value.index_select(axis, index.to(value.device))
            kept[id(old)] = nn.Parameter(value.contiguous())
        owner_name, _, attribute = name.rpartition(".")
        owner = model.get_submodule(owner_name)
        setattr(owner, attribute, kept[id(old)])
        _set_sizes(owner)
    model.tie_weights()


def head_readers(model: PreTrainedModel) -> list[nn.Linear]:
    """List the linear layers behind the encoder that read hidden states or what a pooler made of them, in their order.

    A decoder isn't listed: it shares its weights with the token embedding.
    """
    inside = f"{_base_prefix(model)}{architecture_of(model.config).layers}."
    axes, decoder = stream_axes(model), model.get_output_embeddings()
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module is not decoder
        and not name.startswith(inside)
        and 1 in axes.get(f"{name}.weight", ())
    ]


def _axes_of_layers(model: PreTrainedModel, inside: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the axes of the parameters in the layers: projections by the table, and norms."""
    for position, parts in enumerate(layers_of(model)):
        layer = f"{inside}{position}."
        known = {f"{layer}{one.path}": one.side for one in parts.projections}
        for name, _ in model.base_model.get_submodule(architecture_of(model.config).layers)[
            position
        ].named_parameters():
            owner, _, attribute = f"{layer}{name}".rpartition(".")
            if owner not in known or known[owner] == "in":  # a norm, or a projection that writes to the stream
                yield f"{layer}{name}", (0,)
            elif attribute == "weight":
                yield f"{layer}{name}", (1,)


def _shapes(model: PreTrainedModel, times: int) -> dict[str, torch.Size]:
    """Give the shapes of the parameters of the model's class, `times` as wide as the dense model."""
    config = deepcopy(model.config)
    hidden = config.hidden_size
    for name in ("hidden_size", *architecture_of(config).stream_sizes):
        if getattr(config, name, None) == hidden:
            setattr(config, name, times * hidden)
    with init_empty_weights(include_buffers=False):
        empty = type(model)._from_config(config)  # noqa: SLF001 (as a checkpoint's model is made)
    if (rank := embedding_rank(model)) is not None:
        factor_embedding(empty, rank)
    return {name: value.shape for name, value in empty.named_parameters(remove_duplicate=False)}


def _base_prefix(model: PreTrainedModel) -> str:
    return "" if model.base_model is model else f"{model.base_model_prefix}."


def _set_sizes(module: nn.Module) -> None:
    """Let a module say the sizes that its weight has now."""
    match module:
        case nn.Linear():
            module.out_features, module.in_features = module.weight.shape
        case nn.Embedding():
            module.embedding_dim = module.weight.shape[1]
        case nn.LayerNorm():
            module.normalized_shape = tuple(module.weight.shape)
        case nn.Conv1d() | nn.Conv2d():
            module.out_channels, module.in_channels = module.weight.shape[:2]
        case _:
            pass
