"""Write what loaders of ONNX models look for beside a graph: the model's config and the tokenizer's settings.

optimum-onnx and transformers.js open a folder by its config.json, and read the tokenizer of the same folder. For a sentence
embedding, sentence-transformers opens it by modules.json, and text-embeddings-inference reads how states are pooled from
1_Pooling. They know nothing of edgeprune's own `edgeprune.json`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from edgeprune.models.record import PruningRecord, hidden_size_left, read_pruning
from edgeprune.tasks.spec import TaskSpec

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
_HIDDEN_KEYS = ("hidden_size", "dim")
_HEAD_KEYS = ("num_attention_heads", "n_heads")
_FFN_KEYS = ("intermediate_size", "hidden_dim")
_GENERAL_KEYS = {"hidden_size": "dim", "num_hidden_layers": "n_layers"}
"""Keys of most families, and DistilBERT's words for them. text-embeddings-inference reads the first ones only."""


def write_loader_files(folder: Path, *, checkpoint: Path, reader: Path, spec: TaskSpec, weights_beside: bool) -> None:
    """Write config.json, for texts the tokenizer's settings, and for sentence embeddings how they are pooled.

    Args:
        folder: The package's folder.
        checkpoint: The checkpoint that the graph was exported from.
        reader: The folder with the tokenizer's files.
        spec: The task.
        weights_beside: Whether the weights are in a file beside the graph.
    """
    config = _read(checkpoint / "config.json")
    record = read_pruning(checkpoint)
    if record is not None:
        config |= _shape(config, record)
    config |= {name: config[other] for name, other in _GENERAL_KEYS.items() if other in config}
    # Without it, a page would look for onnx/model_quantized.onnx. `fp32` stands for a name without a suffix.
    config["transformers.js_config"] = {"dtype": "fp32", "use_external_data_format": weights_beside}
    _write(folder / "config.json", config)
    if spec.max_length is not None:
        _write_tokenizer_settings(folder, reader, spec.inputs, spec.max_length)
        if spec.pooling is not None:
            _write_modules(folder, spec, width=hidden_size_left(record, config["hidden_size"]))


def _write_tokenizer_settings(folder: Path, reader: Path, inputs: Sequence[str], max_length: int) -> None:
    settings = {
        name: value
        for name, value in _read(reader / "tokenizer_config.json").items()
        if name not in (*_OF_THIS_MACHINE, *_OF_ONE_CALL, "backend")
    }
    if settings.get("tokenizer_class") in _GENERAL_CLASSES:
        settings["tokenizer_class"] = _GENERAL_CLASSES[-1]
    if isinstance(more := settings.pop("extra_special_tokens", None), list):  # transformers 4 takes a mapping here
        settings["additional_special_tokens"] = more
    settings |= {"model_input_names": list(inputs), "model_max_length": max_length, "padding_side": "right"}
    _write(folder / "tokenizer_config.json", settings)
    _write(folder / "special_tokens_map.json", {name: settings[name] for name in _SPECIAL if settings.get(name)})


def _write_modules(folder: Path, spec: TaskSpec, *, width: int) -> None:
    """Write sentence-transformers' files. It takes their form of before version 6, too; others know no other."""
    modules = ["Transformer", "Pooling", *(["Normalize"] if spec.normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    _write(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
            for number, (name, path) in enumerate(zip(modules, paths, strict=False))
        ],
    )
    # The tokenizer lowers the case itself, where texts are read so.
    _write(folder / "sentence_bert_config.json", {"max_seq_length": spec.max_length, "do_lower_case": False})
    (folder / "1_Pooling").mkdir()
    _write(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": spec.pooling == "cls",
            "pooling_mode_mean_tokens": spec.pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )


def _shape(config: dict[str, Any], record: PruningRecord) -> dict[str, JsonValue]:
    """Say what was pruned, and give the sizes of the family's own keys that still have one value for the whole model.

    A family's config has one number of heads, and heads as wide as hidden_size by that number; it can't say fewer heads of
    the same width. It keeps the dense model's. A smaller hidden size is given as the family's own where it is a multiple of
    that number: transformers refuses others.
    """
    layers: list[JsonValue] = [{"heads": len(one.heads), "neurons": len(one.neurons)} for one in record.layers]
    ours: dict[str, JsonValue] = {"pruned": True, "head_width": record.head_dim, "layers": layers}
    changed: dict[str, JsonValue] = {"edgeprune": ours}
    if record.hidden is not None:
        ours["hidden_size"] = width = len(record.hidden)
        heads = next((config[name] for name in _HEAD_KEYS if name in config), 1)
        if width % heads == 0:
            changed |= dict.fromkeys((name for name in _HIDDEN_KEYS if name in config), width)
    if record.embedding_rank is not None:
        ours["embedding_rank"] = record.embedding_rank
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


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
