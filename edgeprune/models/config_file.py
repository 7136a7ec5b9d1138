"""Read the config.json of a checkpoint, refused if it or the folder can't be what it says. Light: no torch.

config = read_config(Path("my-model"))
config["model_type"]
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeprune.base.errors import ModelError
from edgeprune.models.config_checks import architecture_named, config_fault
from edgeprune.models.folder_kind import require_checkpoint
from edgeprune.models.weights import read_shapes

__all__ = ["read_config", "read_content", "require_fitting"]


def read_content(folder: Path) -> dict[str, Any]:
    """Read config.json as it stands, after a look at what the folder is.

    Raises:
        ModelError: The folder is no checkpoint, or config.json can't be read.
    """
    require_checkpoint(folder)
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} can't be read as JSON ({error})") from error
    if not isinstance(content, dict) or "model_type" not in content:
        raise ModelError(f"{path} names no model_type; it is not a Hugging Face model's config")
    if not isinstance(content["model_type"], str):
        raise ModelError(f"{path} can't be used: model_type should be a name, not {str(content['model_type'])[:40]}")
    return content


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json as it stands, after a look at the names and shapes of the weights too.

    Raises:
        ModelError: The folder is no checkpoint, or config.json can't be read or doesn't fit the weights.
    """
    content = read_content(folder)
    require_fitting(content, folder)
    return content


def require_fitting(content: Mapping[str, Any], folder: Path) -> None:
    """Refuse a config.json that can't be used, or that doesn't fit the names and shapes of the weights.

    Args:
        content: What config.json holds.
        folder: The checkpoint.

    Raises:
        ModelError: It is refused.
    """
    fault = config_fault(content, {})
    if fault is None:
        shapes = read_shapes(folder, architecture_named(content) or "AutoModel")
        if not (folder / "pruning.json").exists():  # a pruned model's shapes are those that pruning.json says
            fault = config_fault(content, shapes)
    if fault is not None:
        raise ModelError(f"{folder / 'config.json'} can't be used: {fault}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"a number is {name}")
