"""Check a config.json against what its model's weights are, before a model class sees it. Light: no torch.

A model class believes its config: a billion layers are made one by one, and an activation that isn't there is a KeyError.
What can be known from the names and shapes in the safetensors' header is said here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeprune.models.label_names import label_fault
from edgeprune.models.weights import Shapes

__all__ = ["architecture_named", "config_fault"]

_MOST = 10_000_000
"""More than any size in a config: a number from here on is a mistake that would fill the memory before it fails."""


@dataclass(frozen=True)
class _Size:
    """A whole number in config.json, and the dimension of a tensor that it must equal."""

    keys: tuple[str, ...]
    """Its names in the families."""
    tensor: str | None = None
    """A pattern of the tensor's name."""
    axis: int = 0
    least: int = 1


_QUERY = r"layers?\.0\.(.*\.)?(query|q_lin|attn\.q|query_proj|q_proj|Wqkv)\.weight$"
_SIZES = (
    _Size(("hidden_size", "dim"), _QUERY, axis=1),
    _Size(("num_attention_heads", "n_heads")),
    _Size(("num_hidden_layers", "n_layers")),
    _Size(("intermediate_size", "hidden_dim"), r"(intermediate\.dense|ffn\.lin1|layers\.0\.ffn|mlp\.fc1)\.weight$"),
    _Size(("intermediate_size",), r"mlp\.Wo\.weight$", axis=1),
    _Size(("vocab_size",), r"(word_embeddings|tok_embeddings)\.weight$"),
    _Size(("embedding_size",), r"word_embeddings\.weight$", axis=1),
    _Size(("max_position_embeddings",), r"embeddings\.position_embeddings\.weight$"),
    _Size(("type_vocab_size",), r"token_type_embeddings\.weight$", least=0),
    _Size(("num_channels",), r"patch_embeddings\.projection\.weight$", axis=1),
    _Size(("num_hidden_groups",)),
    _Size(("inner_group_num",)),
)
_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
_GROUPS = "num_hidden_groups"
_MOST_ROUNDS = 1000
_WHOLE_MODEL = ("AutoConfig", "AutoModel")


def architecture_named(config: Mapping[str, Any]) -> str:
    """Return the class that a config.json names first; "" where it names none."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def config_fault(config: Mapping[str, Any], shapes: Shapes) -> str | None:
    """Find what is wrong with a config.json.

    Args:
        config: Its content.
        shapes: The weights'; empty: they have other shapes than config.json says (a pruned model's), or are not known.

    Returns:
        What follows "config.json can't be used: "; None: nothing was found.
    """
    return (
        _of_another_kind(config)
        or _wrong_architectures(config)
        or _wrong_size(config, shapes)
        or _wrong_relation(config)
        or label_fault(config, shapes, architecture_named(config))
    )


def _of_another_kind(config: Mapping[str, Any]) -> str | None:
    """Find keys that say the weights are not what a class of transformers makes of floats alone."""
    quantized = config.get("quantization_config") or config.get("compression_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, Mapping) else None
        return (
            f"the checkpoint is quantized (quantization_config{f': {method}'[:60] if method else ''}), and edgeprune prunes "
            f"float weights; give the model that it was made from"
        )
    code = config.get("auto_map")
    if isinstance(code, Mapping):
        own = next((key for key in code if str(key).startswith(_WHOLE_MODEL)), None)
        if own is not None:
            return (
                f"the model is made by code of its own (auto_map: {own[:40]} is {code[own]!s:.80}), which edgeprune never "
                f"runs; give a model of one of transformers' own classes"
            )
    if config.get("pruned_heads"):
        return (
            "pruned_heads names heads that transformers 4 removed, which can't be read any more; give the dense model"
        )
    positions = config.get("position_embedding_type")
    if positions not in (None, "absolute"):
        return (
            f"position_embedding_type is {positions!r:.40}, which transformers no longer computes; the positions would be "
            f"absolute ones, and the answers others; give a model with absolute positions"
        )
    return None


def _wrong_architectures(config: Mapping[str, Any]) -> str | None:
    names = config.get("architectures")
    if names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        return None
    return f"architectures should be a list of class names, as in ['BertModel'], not {names!r:.80}"


def _wrong_size(config: Mapping[str, Any], shapes: Shapes) -> str | None:
    for size in _SIZES:
        for key in size.keys:
            value = config.get(key)
            if value is None:
                continue
            if type(value) is not int or not size.least <= value <= _MOST:
                return f"{key} should be a whole number from {size.least} to {_MOST}, not {value!r:.40}"
            tensor = next((name for name in shapes if size.tensor and re.search(size.tensor, name)), None)
            found = shapes[tensor][size.axis] if tensor and len(shapes[tensor]) > size.axis else value
            if found != value:
                return f"{key} is {value}, but {tensor} in the weights has {found}; the files don't belong together"
    return _wrong_depth(config, shapes) or _wrong_image(config)


def _wrong_depth(config: Mapping[str, Any], shapes: Shapes) -> str | None:
    for key in ("num_hidden_layers", "n_layers"):
        value = config.get(key)
        if value is None:
            continue
        if _GROUPS in config:
            if value > _MOST_ROUNDS:
                return f"{key} is {value}: a text would go through the one layer more than {_MOST_ROUNDS} times"
            continue
        found = {int(match.group(1)) for name in shapes if (match := _LAYER.search(name))}
        if found and value != max(found) + 1:
            return f"{key} is {value}, but the weights have {max(found) + 1} layers; the files don't belong together"
        if not found and value > _MOST_ROUNDS:
            return f"{key} is {value}; edgeprune prunes models of {_MOST_ROUNDS} layers at most"
    return None


def _wrong_image(config: Mapping[str, Any]) -> str | None:
    for key in ("image_size", "patch_size"):
        value = config.get(key)
        sides = value if isinstance(value, list) else [value, value]
        if value is not None and (
            len(sides) != 2 or any(type(side) is not int or not 1 <= side <= _MOST_ROUNDS * 100 for side in sides)
        ):
            return f"{key} should be a whole number of pixels, or height and width, not {value!r:.40}"
    return None


def _wrong_relation(config: Mapping[str, Any]) -> str | None:
    hidden, heads = (
        config.get(a, config.get(b)) for a, b in (("hidden_size", "dim"), ("num_attention_heads", "n_heads"))
    )
    if hidden is not None and heads is not None and hidden % heads:
        return f"{heads} heads don't divide a hidden size of {hidden}; every head should have the same width"
    padding, tokens = config.get("pad_token_id"), config.get("vocab_size")
    if padding is not None and (type(padding) is not int or padding < 0 or (tokens is not None and padding >= tokens)):
        below = "" if tokens is None else f" below the vocab_size of {tokens}"
        return f"pad_token_id should be the number of a token{below}, not {padding!r:.40}"
    return None
