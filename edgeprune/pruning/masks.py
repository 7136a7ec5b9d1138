"""Read the file of a `masks` step, and check what needs no model. The module is light: planning needs it too."""

from pathlib import Path
from typing import Any

from edgeprune.base.errors import UsageError
from edgeprune.base.strict_yaml import read_yaml

__all__ = ["read_masks"]

_NAMES = ("head_mask", "ffn_mask")
_KINDS = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64")
"""Those of safetensors' types that numpy has."""


def read_masks(path: Path, layers: int) -> dict[str, list[list[int]]]:
    """Read `head_mask` and `ffn_mask`, as far as the file has them.

    Args:
        path: The file, YAML or safetensors.
        layers: The number of layers in the dense model.

    Returns:
        By the mask's name, a row of 0 and 1 for each layer of the dense model.

    Raises:
        UsageError: The file can't be read, or doesn't hold such masks.
    """
    if path.suffix == ".safetensors":
        found: dict[str, Any] = _tensors(path)
    else:
        found = {str(name): values for name, values in read_yaml(path).items()}
    unknown = sorted(found.keys() - set(_NAMES))
    if unknown or not found:
        raise UsageError(f"{path} should hold head_mask and/or ffn_mask, but holds {', '.join(unknown) or 'nothing'}")
    for name, rows in found.items():
        if not isinstance(rows, list) or len(rows) != layers:
            raise UsageError(f"{path}: {name} should have a row for each of the {layers} layers")
        for number, row in enumerate(rows):
            if not isinstance(row, list) or not all(value in (0, 1) for value in row):
                raise UsageError(f"{path}: {name}, row {number}: expected values of 0 or 1, one for each unit")
    return found


def _tensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    found = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                kind = file.get_slice(name).get_dtype()
                if kind not in _KINDS:
                    raise UsageError(f"{path}: {name} is of {kind}; save it as one of {', '.join(_KINDS)}")
                found[name] = file.get_tensor(name).tolist()
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} is not a readable safetensors file: {error}") from error
    return found
