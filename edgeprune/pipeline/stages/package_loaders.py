"""Write what loaders of ONNX models look for beside a graph: the model's config and the tokenizer's settings.

optimum-onnx and transformers.js open a folder by its config.json, and read the tokenizer of the same folder. They know nothing
of edgeprune's own `edgeprune.json`.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from edgeprune.models.record import PruningRecord, read_pruning

__all__ = ["write_loader_files"]

_OF_THIS_MACHINE = ("_name_or_path", "is_local", "local_files_only", "name_or_path")
_OF_ONE_CALL = ("max_length", "pad_to_multiple_of", "stride", "truncation_strategy")
"""Settings of a call that a tokenizer's settings may hold. `model_max_length` says where a text is cut."""
_GENERAL_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""What transformers 5 and 4 call the class that does what tokenizer.json says; 4 doesn't know the name of 5."""
_SPECIAL = ("bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token")
_LAYER_KEYS = ("num_hidden_layers", "n_layers")
_GROUPS = "num_hidden_groups"
"""In the config of a family whose layers share their weights. Its number of layers is how often a text goes through them."""
_FFN_KEYS = ("intermediate_size", "hidden_dim")


def write_loader_files(
    folder: Path, *, checkpoint: Path, reader: Path, inputs: list[str], max_length: int | None
) -> None:
    """Write config.json and, for texts, tokenizer_config.json and special_tokens_map.json.

    Args:
        folder: The package's folder.
        checkpoint: The checkpoint that the graph was exported from.
        reader: The folder with the tokenizer's files.
        inputs: The names of the graph's inputs.
        max_length: The number of tokens that a text is cut to; None for images.
    """
    config = _read(checkpoint / "config.json")
    record = read_pruning(checkpoint)
    _write(folder / "config.json", config if record is None else config | _shape(config, record))
    if max_length is None:
        return
    settings = {
        name: value
        for name, value in _read(reader / "tokenizer_config.json").items()
        if name not in (*_OF_THIS_MACHINE, *_OF_ONE_CALL, "backend")
    }
    if settings.get("tokenizer_class") in _GENERAL_CLASSES:
        settings["tokenizer_class"] = _GENERAL_CLASSES[-1]
    if isinstance(more := settings.pop("extra_special_tokens", None), list):  # transformers 4 takes a mapping here
        settings["additional_special_tokens"] = more
    settings |= {"model_input_names": inputs, "model_max_length": max_length, "padding_side": "right"}
    _write(folder / "tokenizer_config.json", settings)
    _write(folder / "special_tokens_map.json", {name: settings[name] for name in _SPECIAL if settings.get(name)})


def _shape(config: dict[str, Any], record: PruningRecord) -> dict[str, JsonValue]:
    """Say what was pruned, and give the sizes of the family's own keys that still have one value for the whole model.

    A family's config has one number of heads, and heads as wide as hidden_size by that number; it can't say fewer heads of
    the same width. It keeps the dense model's.
    """
    layers: list[JsonValue] = [{"heads": len(one.heads), "neurons": len(one.neurons)} for one in record.layers]
    changed: dict[str, JsonValue] = {"edgeprune": {"pruned": True, "head_width": record.head_dim, "layers": layers}}
    if _GROUPS not in config:
        changed |= {name: len(record.layers) for name in _LAYER_KEYS if name in config}
    widths = {len(one.neurons) for one in record.layers}
    if len(widths) == 1:
        changed |= dict.fromkeys((name for name in _FFN_KEYS if name in config), *widths)
    if record.vocabulary is not None:
        changed["vocab_size"] = len(record.vocabulary)
    return changed


def _read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if name not in _OF_THIS_MACHINE}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
