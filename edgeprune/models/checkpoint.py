"""Load and save checkpoints, dense and pruned, as safetensors only.

A pruned checkpoint is a folder with compact tensors, the dense model's config.json and `pruning.json`, which names the
layers, heads, neurons and tokens of the dense model that are left. transformers alone can't load it: the shapes don't
fit its config. `load_checkpoint` can: it makes the model on the meta device, resizes it by pruning.json, compares every
shape with the file's, loads the tensors, ties tied weights again, and refuses a model that lacks weights.
"""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from edgeprune.base.errors import ModelError
from edgeprune.models.architectures import architecture_of, require_known
from edgeprune.models.reader import Reader
from edgeprune.models.record import PruningRecord, read_pruning, write_pruning
from edgeprune.models.resize import resize

__all__ = [
    "count_parameters",
    "empty_model",
    "load_any",
    "load_checkpoint",
    "load_config",
    "load_dense",
    "load_tokenizer",
    "save_checkpoint",
]

_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tokenizer_config.json")


def load_config(folder: Path) -> PreTrainedConfig:
    """Load the checkpoint's config. A family that edgeprune doesn't prune is refused.

    Raises:
        ModelError: config.json is missing or can't be read, or the architecture is not supported.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json; give a folder with a Hugging Face checkpoint")
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        require_known(content.get("model_type"))
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except ModelError as error:
        raise ModelError(f"{folder / 'config.json'} can't be used: {error}") from error
    except Exception as error:  # a config class checks its fields with exceptions of its own
        raise ModelError(f"{folder / 'config.json'} can't be used: {str(error).splitlines()[0]}") from error
    architecture_of(config)
    return config


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load the checkpoint's fast tokenizer, with any fixed padding and truncation switched off.

    Raises:
        ModelError: There is no tokenizer, or only a slow one.
    """
    if not any(path for pattern in _VOCABULARIES for path in folder.glob(pattern)):
        # transformers would make one up from the model's type, without a vocabulary.
        raise ModelError(
            f"{folder} has no tokenizer: none of {', '.join(_VOCABULARIES)} is there; save it beside the model"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise ModelError(f"{folder} has no tokenizer that loads ({str(error).splitlines()[0]})") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{folder} has a slow tokenizer only ({type(tokenizer).__name__}); packages need tokenizer.json: convert it "
            f"with transformers and save it beside the model"
        )
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    result: PreTrainedTokenizerFast = tokenizer
    return result


def load_dense(
    folder: Path, auto_class: Any, config: PreTrainedConfig, **kwargs: Any
) -> tuple[PreTrainedModel, frozenset[str]]:
    """Load a dense checkpoint in fp32, and name the weights that it lacks (they are newly initialised here).

    Raises:
        ModelError: The weights are pickled or damaged, or the encoder is not whole.
    """
    _tensor_names(folder)
    try:
        model, info = auto_class.from_pretrained(
            folder, config=config, dtype=torch.float32, output_loading_info=True, local_files_only=True, **kwargs
        )
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder} could not be loaded: {str(error).splitlines()[0]}") from error
    missing = frozenset(info["missing_keys"])
    prefix = f"{model.base_model_prefix}."
    bare = model.base_model is model
    pooler = architecture_of(config).pooler
    in_encoder = {name if bare else name.removeprefix(prefix) for name in missing if bare or name.startswith(prefix)}
    lost = sorted(name for name in in_encoder if pooler is None or not name.startswith(f"{pooler}."))
    if lost:
        raise ModelError(
            f"{folder} lacks {len(lost)} of the encoder's weights, {lost[0]} among them; it is not a whole model"
        )
    return model, missing


def load_checkpoint(folder: Path, auto_class: Any, **kwargs: Any) -> PreTrainedModel:
    """Load a complete checkpoint, dense or pruned, in fp32 and evaluation mode.

    Args:
        folder: The folder with config.json, model.safetensors and, if pruned, pruning.json.
        auto_class: transformers' auto class for the task, or a model class.
        **kwargs: Arguments for the class, e.g. `attn_implementation="eager"`.

    Raises:
        ModelError: Something is missing or damaged, or has another shape than the records say.
    """
    config = load_config(folder)
    record = read_pruning(folder)
    names = _tensor_names(folder)
    pooler = architecture_of(config).pooler
    bare = (config.architectures or [""])[0].endswith("Model")
    if bare and pooler is not None and not any(f"{pooler}." in name for name in names):
        kwargs["add_pooling_layer"] = False
    if record is None:
        model, missing = load_dense(folder, auto_class, config, **kwargs)
        if missing:
            raise ModelError(f"{folder} lacks the weights {', '.join(sorted(missing))}")
        return model.eval()
    empty = _empty(auto_class, config, record, **kwargs)
    tensors = load_file(folder / "model.safetensors")
    expected = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
    for name, tensor in tensors.items():
        if name not in expected:
            raise ModelError(
                f"{folder}: the tensor {name} belongs to no part of the {type(empty).__name__} that config.json and "
                f"pruning.json describe; the files don't belong together"
            )
        if tuple(tensor.shape) != expected[name]:
            raise ModelError(
                f"{folder}: {name} has shape {tuple(tensor.shape)}, but pruning.json says {expected[name]}; the files "
                f"don't belong together"
            )
    empty.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False, assign=True)
    empty.tie_weights()
    left = [name for name, value in empty.named_parameters() if value.is_meta]
    if left:
        raise ModelError(f"{folder} lacks the weights {', '.join(left)}")
    return empty.eval()


def empty_model(config: PreTrainedConfig, record: PruningRecord | None) -> PreTrainedModel:
    """Make the model of a config without weights, at its dense size or at the size that `record` states."""
    return _empty(_named_class(config), config, record)


def load_any(folder: Path, **kwargs: Any) -> PreTrainedModel:
    """Load a checkpoint as the class that its config names. `kwargs` are those of `load_checkpoint`.

    Raises:
        ModelError: The config names a class that transformers doesn't have, or the checkpoint can't be loaded.
    """
    config = load_config(folder)
    return load_checkpoint(folder, _named_class(config), **kwargs)


def save_checkpoint(model: PreTrainedModel, folder: Path, *, record: PruningRecord | None, reader: Reader) -> None:
    """Write weights, config, the reader's files and, for a pruned model, pruning.json.

    A dense model's tensors get the names that its family was published with, as transformers writes them. A pruned
    model's tensors, which transformers alone can't load, get the names of its modules.
    """
    model.save_pretrained(folder, save_original_format=record is None)
    reader.save(folder)
    if record is not None:
        write_pruning(record, folder)


def count_parameters(model: nn.Module) -> int:
    """Count the parameters of a model, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _named_class(config: PreTrainedConfig) -> Any:
    name = (config.architectures or ["none"])[0]
    model_class = getattr(transformers, name, None)
    if model_class is None:
        raise ModelError(f"config.json names the architecture {name!r}, which transformers doesn't have")
    return model_class


def _empty(auto_class: Any, config: PreTrainedConfig, record: PruningRecord | None, **kwargs: Any) -> PreTrainedModel:
    make = auto_class.from_config if hasattr(auto_class, "from_config") else auto_class._from_config  # noqa: SLF001
    # Buffers are made for real: most are not in the file (position ids), and a meta buffer could not be filled.
    with init_empty_weights(include_buffers=False):
        model: PreTrainedModel = make(config, **kwargs)
        if record is not None:
            resize(model, record)
    return model


def _tensor_names(folder: Path) -> list[str]:
    """List the names of all tensors.

    Raises:
        ModelError: The folder holds no readable safetensors.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = [
            path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in sorted(folder.glob(pattern))
        ]
        if pickled:
            raise ModelError(
                f"{folder} has pickled weights only ({pickled[0]}), which can run code when read; save them as safetensors: "
                f"AutoModel.from_pretrained(...).save_pretrained(...) on a machine that trusts them"
            )
        raise ModelError(f"{folder} holds no model.safetensors; give a folder with a Hugging Face checkpoint")
    names: list[str] = []
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                names.extend(file.keys())
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged or cut short ({error}); fetch it again") from error
    return names
