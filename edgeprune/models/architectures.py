"""Say in one table where each encoder family keeps its heads, FFN neurons, layers and embeddings.

Nothing else in the project knows an architecture by name. To support another family, add a row to the table (and its
name to the tests' parametrisation).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from edgeprune.base.errors import ModelError
from edgeprune.models.reference import reads_images

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "LayerParts",
    "Place",
    "Projection",
    "architecture_of",
    "counted_tokens",
    "depth_of",
    "head_dim_of",
    "image_shape",
    "image_tokens",
    "layer_sizes",
    "layers_of",
    "longest_text",
    "require_known",
    "state_positions",
    "unit_multiply_adds",
]


_COUNTED_TOKENS = 128
"""The tokens of a text whose multiply-adds are counted, if nobody names a length."""


@dataclass(frozen=True)
class Place:
    """Locate a projection whose outputs are a layer's heads or a layer's neurons."""

    path: str
    blocks: int = 1
    """Number of blocks in the outputs, each with all units: 3 for queries, keys and values, 2 for values and gates."""
    of_positions: bool = False
    """Whether the projection reads the table of relative positions, not the text. Not every model of the family has
    it."""


@dataclass(frozen=True)
class Architecture:
    """Hold the module paths of an encoder family.

    The paths of the layers, the embeddings and the pooler start at the bare encoder (transformers' `base_model`). The
    other paths start at a layer. A family that infers its head count from the widths of its projections needs no more
    than the paths. For other families there are the attributes that state the head count.
    """

    layers: str
    attention_inputs: tuple[Place, ...]
    """Queries, keys and values first, in this order."""
    attention_output: str
    ffn_inputs: tuple[Place, ...]
    ffn_out: str
    ffn_residual: str | None = None
    """The module whose input is added to the FFN's output; None: the first of `ffn_inputs` (post-norm layers)."""
    embeddings: str = "embeddings"
    shared: bool = False
    """Whether there is one layer only, which a text goes through again and again."""
    head_count: str | None = None
    """The attribute with the number of heads; None where no forward pass reads one."""
    heads_width: str | None = None
    """The attribute with the width of all heads together; None where no forward pass reads one."""
    head_argument: tuple[str, int] | None = None
    """A module and the position of its argument, [batch, heads of the dense model, …], that is the same in all
    layers."""
    positions_after_padding: bool = False
    """Whether positions are counted from the padding token's id + 1, so that many rows of their table are never
    used."""
    stream_sizes: tuple[str, ...] = ()
    """Entries of the config beside hidden_size that are the width of what is added to the residual stream, or read from
    it, where they have the value of hidden_size."""
    pooler: str | None = None
    """The sentence pooler of the bare encoder. It is unused where token states are pooled outside the encoder."""


@dataclass(frozen=True)
class Projection:
    """Describe one linear projection of a layer."""

    path: str
    linear: nn.Linear
    unit: Literal["head", "neuron"]
    side: Literal["out", "in"]
    """Whether the units are the projection's outputs (rows of its weight) or its inputs (columns)."""
    blocks: int = 1
    of_positions: bool = False


@dataclass(frozen=True)
class LayerParts:
    """Hold the linear projections of one layer."""

    attention_inputs: tuple[Projection, ...]
    attention_output: Projection
    ffn_inputs: tuple[Projection, ...]
    ffn_out: Projection
    attention_residual: nn.Module
    """The module whose input is added to the attention's output."""
    ffn_residual: nn.Module

    @property
    def projections(self) -> tuple[Projection, ...]:
        """All projections of the layer."""
        return (*self.attention_inputs, self.attention_output, *self.ffn_inputs, self.ffn_out)


def _places(*paths: str) -> tuple[Place, ...]:
    return tuple(Place(path) for path in paths)


_BERT = Architecture(
    layers="encoder.layer",
    attention_inputs=_places("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_output="attention.output.dense",
    ffn_inputs=_places("intermediate.dense"),
    ffn_out="output.dense",
    pooler="pooler",
)

_ROBERTA = replace(_BERT, positions_after_padding=True)

ARCHITECTURES: dict[str, Architecture] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": replace(_BERT, pooler=None, stream_sizes=("embedding_size",)),
    "distilbert": Architecture(
        layers="transformer.layer",
        attention_inputs=_places("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        attention_output="attention.out_lin",
        ffn_inputs=_places("ffn.lin1"),
        ffn_out="ffn.lin2",
    ),
    "albert": Architecture(
        layers="encoder.albert_layer_groups.0.albert_layers",
        attention_inputs=_places("attention.query", "attention.key", "attention.value"),
        attention_output="attention.dense",
        ffn_inputs=_places("ffn"),
        ffn_out="ffn_output",
        shared=True,
        pooler="pooler",
    ),
    "mpnet": replace(
        _ROBERTA,
        attention_inputs=_places("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        attention_output="attention.attn.o",
        heads_width="attention.attn.all_head_size",
        head_argument=("attention.attn", 2),
    ),
    "deberta-v2": replace(
        _BERT,
        attention_inputs=(
            *_places("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
            Place("attention.self.pos_key_proj", of_positions=True),
            Place("attention.self.pos_query_proj", of_positions=True),
        ),
        head_count="attention.self.num_attention_heads",
        stream_sizes=("embedding_size", "pooler_hidden_size"),
        pooler=None,
    ),
    "modernbert": Architecture(
        layers="layers",
        attention_inputs=(Place("attn.Wqkv", blocks=3),),
        attention_output="attn.Wo",
        ffn_inputs=(Place("mlp.Wi", blocks=2),),
        ffn_out="mlp.Wo",
        ffn_residual="mlp_norm",
    ),
    "vit": Architecture(
        layers="layers",
        attention_inputs=_places("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        attention_output="attention.o_proj",
        ffn_inputs=_places("mlp.fc1"),
        ffn_out="mlp.fc2",
        ffn_residual="layernorm_after",
        pooler="pooler",
    ),
}
"""Where each `model_type` of transformers has its parts."""


_PRUNED = f"edgeprune prunes the encoders {', '.join(ARCHITECTURES)}"


def architecture_of(config: PreTrainedConfig) -> Architecture:
    """Look up the table's row for a model.

    Raises:
        ModelError: The family isn't in the table, the model is a decoder, or its layers are shared in several groups.
    """
    known = require_known(config.model_type)
    if any(getattr(config, name, False) for name in ("is_decoder", "is_encoder_decoder", "add_cross_attention")):
        raise ModelError(f"{_PRUNED}; this is a {config.model_type!r} decoder")
    if known.shared and (config.num_hidden_groups, config.inner_group_num) != (1, 1):
        raise ModelError(
            f"edgeprune prunes a {config.model_type!r} model only if all its layers share their weights; this one has "
            f"{config.num_hidden_groups} groups of {config.inner_group_num}"
        )
    if known.positions_after_padding and config.pad_token_id is None:
        raise ModelError(
            f"a {config.model_type!r} model counts its positions from the padding token's id; name it in config.json "
            f"(pad_token_id)"
        )
    return known


def require_known(model_type: str | None) -> Architecture:
    """Look up the table's row for a `model_type`.

    Raises:
        ModelError: The table has no row for it.
    """
    if model_type not in ARCHITECTURES:
        raise ModelError(f"{_PRUNED}; this is a {model_type!r} model")
    return ARCHITECTURES[model_type]


def layers_of(model: PreTrainedModel) -> list[LayerParts]:
    """List every layer's projections, from the bottom up. A layer that a text passes many times is listed once."""
    architecture = architecture_of(model.config)
    return [_parts(layer, architecture) for layer in model.base_model.get_submodule(architecture.layers)]


def layer_sizes(model: PreTrainedModel) -> list[tuple[int, int]]:
    """List how many heads and how many neurons each layer has, from the bottom up."""
    head_dim = head_dim_of(model.config)
    return [
        (parts.attention_output.linear.in_features // head_dim, parts.ffn_out.linear.in_features)
        for parts in layers_of(model)
    ]


def depth_of(config: PreTrainedConfig) -> int:
    """Count how often a text goes through each of the model's layers: once, unless there is one shared layer."""
    return int(config.num_hidden_layers) if architecture_of(config).shared else 1


def state_positions(config: PreTrainedConfig, positions: Sequence[int]) -> list[int]:
    """Find which hidden states are the outputs of the embeddings (the first) and of the layers at these positions."""
    depth = depth_of(config)
    return [0, *(1 + position * depth + turn for position in positions for turn in range(depth))]


def unit_multiply_adds(config: PreTrainedConfig, parts: LayerParts, head_dim: int, tokens: int) -> tuple[int, int]:
    """Count the multiply-adds of one head and of one neuron in one pass of a text of `tokens` tokens through the layer.

    What is computed from the table of relative positions alone doesn't depend on the text, and isn't counted.
    """
    weights = {"head": 0, "neuron": 0}
    for projection in parts.projections:
        if not projection.of_positions:
            linear = projection.linear
            other = linear.in_features if projection.side == "out" else linear.out_features
            weights[projection.unit] += projection.blocks * other
    # Scores and mixing; queries and keys also meet the positions.
    products = 2 * (tokens + _relative_positions(config))
    return tokens * head_dim * (weights["head"] + products), tokens * weights["neuron"]


def image_tokens(config: PreTrainedConfig) -> int | None:
    """Count the tokens of every image: its patches and the classification token; None where the model reads texts."""
    if not reads_images(config.to_dict()):
        return None
    (height, width), (down, across) = image_shape(config.image_size), image_shape(config.patch_size)
    return (height // down) * (width // across) + 1


def counted_tokens(config: PreTrainedConfig, asked: int | None = None) -> int:
    """Give the number of tokens whose multiply-adds are counted: an image's own, else what is asked for, else 128."""
    return image_tokens(config) or asked or _COUNTED_TOKENS


def image_shape(size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width, which a config may give as one number."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def longest_text(config: PreTrainedConfig) -> int | None:
    """Return the most tokens that the model takes; None where it reads images."""
    if reads_images(config.to_dict()):
        return None
    reserved = config.pad_token_id + 1 if architecture_of(config).positions_after_padding else 0
    return int(config.max_position_embeddings - reserved)


def head_dim_of(config: PreTrainedConfig) -> int:
    """Return the width of one attention head in the dense model. Pruning removes whole heads, never parts of them."""
    return int(config.hidden_size // config.num_attention_heads)


def _relative_positions(config: PreTrainedConfig) -> int:
    """Count the relative positions that every query and key is multiplied with; 0 in most families."""
    if not getattr(config, "relative_attention", False):
        return 0
    buckets = getattr(config, "position_buckets", -1)
    longest = getattr(config, "max_relative_positions", -1)
    span = next(size for size in (buckets, longest, config.max_position_embeddings) if size > 0)
    return int(2 * span)


def _parts(layer: nn.Module, architecture: Architecture) -> LayerParts:
    modules = dict(layer.named_modules())

    def projection(place: Place, unit: Literal["head", "neuron"], side: Literal["out", "in"]) -> Projection:
        linear = modules[place.path]
        assert isinstance(linear, nn.Linear)  # noqa: S101 (the table says so)
        return Projection(place.path, linear, unit, side, place.blocks, place.of_positions)

    heads = [place for place in architecture.attention_inputs if not place.of_positions or place.path in modules]
    ffn_inputs = tuple(projection(place, "neuron", "out") for place in architecture.ffn_inputs)
    return LayerParts(
        attention_inputs=tuple(projection(place, "head", "out") for place in heads),
        attention_output=projection(Place(architecture.attention_output), "head", "in"),
        ffn_inputs=ffn_inputs,
        ffn_out=projection(Place(architecture.ffn_out), "neuron", "in"),
        attention_residual=layer,
        ffn_residual=modules[architecture.ffn_residual or ffn_inputs[0].path],
    )
