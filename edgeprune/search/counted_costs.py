"""Count what layers cost where no time decides: multiply-adds stand in for an unknown time, and bytes are the size."""

from typing import TYPE_CHECKING

from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.search.costs import Costs
from edgeprune.search.table_design import Shape

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from edgeprune.models.record import PruningRecord

__all__ = ["byte_costs", "multiply_add_costs"]

_SCALE_BYTES = 4
_BYTES = {"fp32": 4.0, "fp16": 2.0, "int4-weights": 0.5 + _SCALE_BYTES / 32}
"""Bytes of a weight by mode; others have one byte, and scales that are too few to count."""
_TABLE_BYTES = {"int8": 1.0, "int4": 0.5 + _SCALE_BYTES / 128, "int2": 0.25 + _SCALE_BYTES / 32}


def multiply_add_costs(
    config: "PreTrainedConfig", record: "PruningRecord | None" = None, *, tokens: int, align: int
) -> Costs:
    """Count the multiply-adds of one text.

    Args:
        config: The dense model's config.
        record: What is left of the model that is pruned; None: all of it.
        tokens: The text's length.
        align: FFN widths are multiples of this.
    """
    from edgeprune.models.architectures import head_dim_of, layer_sizes, layers_of, unit_multiply_adds
    from edgeprune.models.checkpoint import empty_model
    from edgeprune.models.sizes import count_parts

    model = empty_model(config, record)
    shape = Shape.of(layer_sizes(model), align=align)
    head, neuron = unit_multiply_adds(config, layers_of(model)[0], head_dim_of(config), tokens)
    parts = count_parts(model, tokens, record).values()
    base = sum(part.multiply_adds for part in parts if part.heads is None and part.neurons is None)
    return Costs(
        unit="multiply-adds",
        base=base,
        attention=tuple(head * number for number in range(shape.heads + 1)),
        widths=shape.widths,
        ffn=tuple(neuron * width for width in shape.widths),
    )


def byte_costs(
    config: "PreTrainedConfig", settings: PrecisionSettings, record: "PruningRecord | None" = None, *, align: int
) -> Costs:
    """Count about how many bytes the weights take in the target's precision.

    Args:
        config: The dense model's config.
        settings: The target's precision.
        record: What is left of the model that is pruned; None: all of it.
        align: FFN widths are multiples of this.
    """
    from edgeprune.models.architectures import architecture_of, head_dim_of, layer_sizes, layers_of
    from edgeprune.models.checkpoint import count_parameters, empty_model

    model = empty_model(config, record)
    shape, parts = Shape.of(layer_sizes(model), align=align), layers_of(model)[0]
    layers = model.base_model.get_submodule(architecture_of(config).layers)
    weight, plain = _BYTES.get(settings.mode, 1.0), _BYTES["fp16" if settings.mode == "fp16" else "fp32"]
    units = {"head": 0.0, "neuron": 0.0}
    for one in parts.projections:
        wide = one.blocks * (head_dim_of(config) if one.unit == "head" else 1)
        other = one.linear.in_features if one.side == "out" else one.linear.out_features
        biased = one.side == "out" and one.linear.bias is not None
        units[one.unit] += wide * (other * weight + biased * plain)
    of_units = sum(
        one.linear.weight.numel() + (one.side == "out" and one.linear.bias is not None) * one.linear.out_features
        for one in parts.projections
    )
    norms = plain * (count_parameters(layers[0]) - of_units)
    table = model.get_input_embeddings()
    rows = count_parameters(table) if table is not None else 0
    rest = count_parameters(model) - count_parameters(layers) - rows
    return Costs(
        unit="bytes",
        base=rows * _TABLE_BYTES.get(settings.embeddings or "", plain) + rest * weight,
        attention=tuple(norms + units["head"] * number for number in range(shape.heads + 1)),
        widths=shape.widths,
        ffn=tuple(units["neuron"] * width for width in shape.widths),
    )
