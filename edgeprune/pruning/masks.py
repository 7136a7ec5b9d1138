"""Read the file of a `masks` step, and check what needs no model. The module is light: planning needs it too."""

from pathlib import Path

from edgeprune.base.errors import UsageError
from edgeprune.base.strict_yaml import read_yaml

__all__ = ["read_masks"]

_NAMES = ("head_mask", "ffn_mask")


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
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            found = {name: values.tolist() for name, values in load_file(path).items()}
        except (OSError, SafetensorError, KeyError) as error:  # KeyError: a type that numpy lacks
            raise UsageError(f"{path} is not a readable safetensors file: {error}") from error
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
