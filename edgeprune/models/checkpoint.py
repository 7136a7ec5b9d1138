"""Load and save checkpoints, dense and pruned, as safetensors only.

A pruned checkpoint is a folder with compact tensors, the dense model's config.json and `pruning.json`, which names the
layers, heads, neurons and tokens of the dense model that are left. transformers alone can't load it: the shapes don't
fit its config. `load_checkpoint` can: it makes the model on the meta device, resizes it by pruning.json, compares every
shape with the file's, loads the tensors, ties tied weights again, and refuses a model that lacks weights.
"""

import warnings
from pathlib import Path
from typing import Any

from accelerate import init_empty_weights
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.activations import ACT2FN

from edgeprune.base.errors import ModelError
from edgeprune.base.wording import first_line
from edgeprune.models.architectures import architecture_of, require_known
from edgeprune.models.config_file import read_content, require_fitting
from edgeprune.models.dense import class_named, load_dense, model_errors, some_of
from edgeprune.models.reader import Reader
from edgeprune.models.record import PruningRecord, read_pruning, write_pruning
from edgeprune.models.resize import resize
from edgeprune.models.weights import read_shapes

__all__ = [
    "count_parameters",
    "empty_model",
    "load_any",
    "load_checkpoint",
    "load_config",
    "load_tokenizer",
    "save_checkpoint",
]

_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tokenizer_config.json")

_RUN_HERE: dict[str, Any] = {
    "return_dict": True,
    "output_attentions": False,
    "output_hidden_states": False,
    "chunk_size_feed_forward": 0,
}
"""Keys of config.json that say how a model is run, not what it is."""
_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation", "classifier_activation", "pooler_act")


def load_config(folder: Path) -> PreTrainedConfig:
    """Load the checkpoint's config. A family that edgeprune doesn't prune is refused.

    How the machine that trained it ran the model (its attention's implementation, what it returned) is left out.

    Raises:
        ModelError: The folder is no checkpoint, config.json can't be used, or the architecture is not supported.
    """
    content, path = read_content(folder), folder / "config.json"
    try:
        # The family comes first: nothing can be said of another family's weights.
        require_known(content["model_type"])
    except ModelError as error:
        raise ModelError(f"{path} can't be used: {error}") from error
    require_fitting(content, folder)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, **_RUN_HERE)
    except Exception as error:  # a config class checks its fields with exceptions of its own
        raise ModelError(f"{path} can't be used: {' '.join(str(error).split())[:200]}") from error
    config._attn_implementation = None  # noqa: SLF001 (the class chooses one that is here)
    for name in _ACTIVATIONS:
        value = getattr(config, name, None)
        if isinstance(value, str) and value not in ACT2FN:
            raise ModelError(f"{path} can't be used: {name} is {value[:40]!r}, which is no activation of transformers'")
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
        raise ModelError(f"{folder} has no tokenizer that loads ({first_line(error)})") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{folder} has a slow tokenizer only ({type(tokenizer).__name__}); packages need tokenizer.json: convert it "
            f"with transformers and save it beside the model"
        )
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    result: PreTrainedTokenizerFast = tokenizer
    return result


def load_checkpoint(folder: Path, auto_class: Any, **kwargs: Any) -> PreTrainedModel:
    """Load a complete checkpoint, dense or pruned, in fp32 and evaluation mode.

    Args:
        folder: The folder with config.json, model.safetensors and, if pruned, pruning.json.
        auto_class: transformers' auto class for the task, or a model class.
        **kwargs: Arguments for the class, e.g. `attn_implementation="eager"`.

    Warns:
        UserWarning: The class has no place for some of the weights.

    Raises:
        ModelError: Something is missing or damaged, or has another shape than the records say.
    """
    config = load_config(folder)
    record = read_pruning(folder)
    names = read_shapes(folder)
    pooler = architecture_of(config).pooler
    bare = (config.architectures or [""])[0].endswith("Model")
    if bare and pooler is not None and not any(f"{pooler}." in name for name in names):
        kwargs["add_pooling_layer"] = False
    if record is None:
        dense = load_dense(folder, auto_class, config, **kwargs)
        if dense.missing:
            raise ModelError(f"{folder} lacks the weights {some_of(dense.missing)}")
        if dense.unused:
            warnings.warn(
                f"{len(dense.unused)} of the weights in {folder} are not used, for a {type(dense.model).__name__} has no place "
                f"for them: {some_of(dense.unused)}",
                stacklevel=3,
            )
        return dense.model.eval()
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


def empty_model(
    config: PreTrainedConfig, record: PruningRecord | None, auto_class: Any = None, **kwargs: Any
) -> PreTrainedModel:
    """Make the model of a config without weights, at its dense size or at the size that `record` states.

    Args:
        config: The dense model's config.
        record: The sizes of the model; None: those of the dense model.
        auto_class: transformers' auto class for the task, or a model class; None: the class that the config names.
        **kwargs: Arguments for the class.
    """
    return _empty(auto_class or _named_class(config), config, record, **kwargs)


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


def _named_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    name = (config.architectures or ["none"])[0]
    found = class_named(name)
    if found is None:
        raise ModelError(f"config.json names the architecture {name[:80]!r}, which is no model class of transformers'")
    return found


def _empty(auto_class: Any, config: PreTrainedConfig, record: PruningRecord | None, **kwargs: Any) -> PreTrainedModel:
    make = auto_class.from_config if hasattr(auto_class, "from_config") else auto_class._from_config  # noqa: SLF001
    # Buffers are made for real: most are not in the file (position ids), and a meta buffer could not be filled.
    with init_empty_weights(include_buffers=False):
        with model_errors():
            model: PreTrainedModel = make(config, **kwargs)
            model.base_model.get_submodule(architecture_of(config).layers)  # a class of another kind has none
        if record is not None:
            resize(model, record)
    return model
