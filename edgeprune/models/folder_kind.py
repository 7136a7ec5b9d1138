"""Tell what a folder is that is given as a model, and say what to do with one that is no checkpoint. Light: no torch.

Some folders look like a checkpoint and are none: an adapter beside its base model, a SetFit model, pointers of Git LFS in
place of the files. Read as a checkpoint they would give another model, so they are refused by name.
"""

import contextlib
import json
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from edgeprune.base.errors import ModelError

__all__ = ["MARKERS", "other_weights", "require_checkpoint"]

_ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
_SETFIT = ("config_setfit.json", "model_head.pkl", "model_head.safetensors")
MARKERS = ("adapter_config.json", *_SETFIT)
"""Small files that tell the kind of a folder. They are fetched from the hub for this alone, and never opened as models."""

_READ = ("*.safetensors", "*.json", "*.txt", "*.model")
_POINTER = b"version https://git-lfs.github.com/spec/"

_FORMATS = {
    ("*.gguf",): "GGUF weights",
    ("*.onnx", "onnx/*.onnx"): "an ONNX graph",
    ("openvino_model.xml",): "an OpenVINO graph",
    ("*.h5", "saved_model.pb", "*.ckpt.index", "*.ckpt.meta", "*.ckpt.data-*"): "TensorFlow weights",
    ("*.msgpack",): "Flax weights",
}
"""Patterns of file names, and what the weights in them are."""
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_OF_TRAINING = ("training_args.bin", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*")
"""What a training leaves beside the weights."""


def require_checkpoint(folder: Path) -> None:
    """Refuse a folder that is something other than a Hugging Face checkpoint.

    Raises:
        ModelError: With what the folder is, and what to do.
    """
    _refuse_adapter(folder)
    _refuse_setfit(folder)
    if (folder / "edgeprune.json").is_file():
        raise ModelError(
            f"{folder} is a package of edgeprune's, whose weights are an ONNX graph; give the checkpoint that it was made "
            f"from"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json{_inside(folder) or _instead(folder)}")
    for path in sorted(path for pattern in _READ for path in folder.glob(pattern) if path.is_file()):
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise ModelError(
                    f"{path} is a pointer of Git LFS, not the file itself; fetch the files with git lfs pull, or download "
                    f"the model again"
                )


def other_weights(names: Iterable[str], architecture: str = "AutoModel") -> str | None:
    """Describe weights in another format than safetensors, and say what to do with them.

    Args:
        names: The files of a folder or a repository, with / between the parts of a path.
        architecture: The class of transformers that reads the weights.

    Returns:
        What follows "FOLDER has"; None: there are no weights.
    """
    at_top = [name for name in names if "/" not in name or name.startswith("onnx/")]
    files = sorted(name for name in at_top if not any(fnmatch(name, pattern) for pattern in _OF_TRAINING))
    pickled = _matching(files, _PICKLED)
    if pickled is not None:
        return (
            f"pickled weights only ({pickled}), which can run code when they are read; save them as safetensors: "
            f"{architecture}.from_pretrained(...).save_pretrained(...) on a machine that trusts them"
        )
    for patterns, kind in _FORMATS.items():
        found = _matching(files, patterns)
        if found is not None:
            return (
                f"{kind} only ({found}); edgeprune reads safetensors: give the checkpoint that this was made from, or save "
                f"it with transformers: {architecture}.save_pretrained(...)"
            )
    return None


def _matching(files: list[str], patterns: tuple[str, ...]) -> str | None:
    return next((name for name in files for pattern in patterns if fnmatch(name, pattern)), None)


def _refuse_adapter(folder: Path) -> None:
    found = next((name for name in _ADAPTER if (folder / name).is_file()), None)
    if found is None:
        return
    base = None
    with contextlib.suppress(
        OSError, ValueError, AttributeError, RecursionError
    ):  # an adapter, whatever its config says
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    raise ModelError(
        f"{folder} holds a PEFT adapter ({found}){' beside a model' if (folder / 'config.json').is_file() else ''}, which "
        f"would not be read; merge the adapter into its base model first, and give the merged folder: "
        f"PeftModel.from_pretrained({str(base)[:80] if base else 'base model'}, ...)"
        f".merge_and_unload().save_pretrained(...)"
    )


def _refuse_setfit(folder: Path) -> None:
    found = next((name for name in _SETFIT if (folder / name).is_file()), None)
    if found is not None:
        raise ModelError(
            f"{folder} is a SetFit model ({found}), and edgeprune doesn't read the head that its labels come from; to use "
            f"the encoder alone, copy the folder without {' and '.join(_SETFIT[:2])}, and say with --task what it is for"
        )


def _inside(folder: Path) -> str | None:
    """Name a folder inside that has what this one lacks."""
    inside = sorted(path.parent for path in folder.glob("*/config.json") if any(path.parent.glob("*.safetensors")))
    return f", but {inside[-1]} does; give that folder" if inside else None


def _instead(folder: Path) -> str:
    names = (path.relative_to(folder).as_posix() for pattern in ("*", "onnx/*") for path in folder.glob(pattern))
    found = other_weights(names)
    return "; give a folder with a Hugging Face checkpoint" + (f" (this one has {found})" if found else "")
