"""Read what the safetensors of a checkpoint hold, without their values: names, shapes and types. Light: no torch."""

import json
from pathlib import Path

from edgeprune.base.errors import ModelError
from edgeprune.models.folder_kind import other_weights

__all__ = ["Shapes", "read_shapes", "weight_files"]

Shapes = dict[str, tuple[int, ...]]
"""The shape of every tensor, by its name."""

_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_FLOATS = {"F64", "F32", "F16", "BF16"}
_INTEGERS = {"I64", "I32", "BOOL"}
_PACKED = ("qweight", "qzeros", "scales", "g_idx", "weight_packed")

_WRAPPERS = {
    "_orig_mod": ("torch.compile", "model._orig_mod.save_pretrained(...)"),
    "module": ("DistributedDataParallel", "model.module.save_pretrained(...)"),
    "_fsdp_wrapped_module": ("FSDP", "trainer.save_model(...) with the full state"),
    "_forward_module": ("Lightning Fabric", "fabric_model.module.save_pretrained(...)"),
    "_checkpoint_wrapped_module": ("activation checkpointing", "save_pretrained(...) of the model without it"),
    "lora_A": ("PEFT", "model.merge_and_unload().save_pretrained(...)"),
    "base_layer": ("PEFT", "model.merge_and_unload().save_pretrained(...)"),
}
"""Parts of tensors' names that something put around a model leaves there: what it was, and how to save without it."""


def weight_files(folder: Path, architecture: str = "AutoModel") -> list[Path]:
    """Find the files that the model's weights are read from: model.safetensors, or the shards that its index names.

    Raises:
        ModelError: There are none, or a shard is missing.
    """
    if (folder / _WHOLE).is_file():
        return [folder / _WHOLE]
    index = folder / _INDEX
    if not index.is_file():
        _refuse_without_weights(folder, architecture)
    try:
        shards = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{index} does not say which file each weight is in; fetch it again") from error
    missing = sorted(name for name in shards if not (folder / name).is_file())
    if missing or not shards:
        raise ModelError(
            f"{folder} lacks {len(missing)} of the {len(shards)} files that {_INDEX} names, "
            f"{missing[0][:80] if missing else 'all'} among them; fetch them again"
        )
    return [folder / name for name in sorted(shards)]


def read_shapes(folder: Path, architecture: str = "AutoModel") -> Shapes:
    """Read the shape of every weight.

    Args:
        folder: The checkpoint's.
        architecture: The class that a message says can read other weights.

    Raises:
        ModelError: There are no weights, they are damaged or quantized, or something was left around the model.
    """
    from safetensors import SafetensorError, safe_open

    shapes: Shapes = {}
    for path in weight_files(folder, architecture):
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 (it is no mapping)
                    part = file.get_slice(name)
                    _refuse_quantized(folder, name, part.get_dtype())
                    shapes[name] = tuple(part.get_shape())
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged or cut short ({error}); fetch it again") from error
    _refuse_wrapped(folder, shapes)
    return shapes


def _refuse_without_weights(folder: Path, architecture: str) -> None:
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        raise ModelError(
            f"{folder} holds {others[0]}, but no {_WHOLE}, which is the file that transformers reads; rename it if it is "
            f"the whole model"
        )
    names = (path.relative_to(folder).as_posix() for pattern in ("*", "onnx/*") for path in folder.glob(pattern))
    found = other_weights(names, architecture)
    if found is not None:
        raise ModelError(f"{folder} has {found}")
    raise ModelError(f"{folder} holds no {_WHOLE}; give a folder with a Hugging Face checkpoint")


def _refuse_quantized(folder: Path, name: str, dtype: str) -> None:
    packed = name.rpartition(".")[2] in _PACKED
    if packed or dtype not in _FLOATS | _INTEGERS:
        raise ModelError(
            f"{folder} is a quantized checkpoint ({name} is {dtype}), and edgeprune prunes float weights; give the model "
            f"that it was made from"
        )


def _refuse_wrapped(folder: Path, shapes: Shapes) -> None:
    for name in shapes:
        for part in name.split("."):
            if part in _WRAPPERS:
                what, how = _WRAPPERS[part]
                raise ModelError(
                    f"{folder} was saved with {what} around the model: its weights have names such as {name}, with {part}. "
                    f"in them; save the model itself: {how}"
                )
