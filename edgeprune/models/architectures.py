"""The one table that says where each encoder family keeps its heads, FFN neurons and embeddings.

Nothing else in the project knows an architecture by name. Supporting another family is another row here (and its name
in the tests' parametrisation). Every family listed infers its head count from the width of its projections, so slicing
query, key, value and output in whole heads needs no change to its forward pass.
"""

from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from edgeprune.errors import ModelError

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "LayerParts",
    "architecture_of",
    "head_dim_of",
    "layers_of",
    "longest_text",
    "require_known",
]


@dataclass(frozen=True)
class Architecture:
    """Module paths inside the bare encoder (transformers' `base_model`)."""

    layers: str
    query: str
    key: str
    value: str
    attention_output: str
    ffn_in: str
    ffn_out: str
    embeddings: str = "embeddings"
    positions_after_padding: bool = False
    """Whether positions are counted from the padding token's id + 1, so that many rows of their table are never used."""
    pooler: str | None = None
    """The sentence pooler of the bare encoder, unused where token states are pooled outside."""


@dataclass(frozen=True)
class LayerParts:
    """The six linear projections of one layer."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    attention_output: nn.Linear
    ffn_in: nn.Linear
    ffn_out: nn.Linear


_BERT = Architecture(
    layers="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    ffn_in="intermediate.dense",
    ffn_out="output.dense",
    pooler="pooler",
)

_ROBERTA = replace(_BERT, positions_after_padding=True)

ARCHITECTURES: dict[str, Architecture] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": replace(_BERT, pooler=None),
    "distilbert": Architecture(
        layers="transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_output="attention.out_lin",
        ffn_in="ffn.lin1",
        ffn_out="ffn.lin2",
    ),
}
"""transformers' `model_type` to where its parts are."""


_PRUNED = f"edgeprune prunes the encoders {', '.join(ARCHITECTURES)}"


def architecture_of(config: PreTrainedConfig) -> Architecture:
    """The table's row for a model.

    Raises:
        ModelError: A family that isn't in the table, or a decoder.
    """
    known = require_known(config.model_type)
    if getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{_PRUNED}; this is a {config.model_type!r} decoder")
    return known


def require_known(model_type: str | None) -> Architecture:
    """The table's row for a `model_type`. Raises ModelError if it has none."""
    if model_type not in ARCHITECTURES:
        raise ModelError(f"{_PRUNED}; this is a {model_type!r} model")
    return ARCHITECTURES[model_type]


def layers_of(model: PreTrainedModel) -> list[LayerParts]:
    """Every layer's projections, from the bottom up."""
    architecture = architecture_of(model.config)
    return [
        LayerParts(
            query=layer.get_submodule(architecture.query),
            key=layer.get_submodule(architecture.key),
            value=layer.get_submodule(architecture.value),
            attention_output=layer.get_submodule(architecture.attention_output),
            ffn_in=layer.get_submodule(architecture.ffn_in),
            ffn_out=layer.get_submodule(architecture.ffn_out),
        )
        for layer in model.base_model.get_submodule(architecture.layers)
    ]


def longest_text(config: PreTrainedConfig) -> int:
    """Most tokens that the model takes."""
    reserved = config.pad_token_id + 1 if architecture_of(config).positions_after_padding else 0
    return int(config.max_position_embeddings - reserved)


def head_dim_of(config: PreTrainedConfig) -> int:
    """Width of one attention head in the dense model; pruning removes whole heads, never parts of them."""
    return int(config.hidden_size // config.num_attention_heads)
