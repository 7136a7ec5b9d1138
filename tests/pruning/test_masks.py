from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from edgeprune.base.errors import UsageError
from edgeprune.pruning.masks import read_masks

ROWS = [[1, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize("kind", ["bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64"])
def test_masks_are_read_from_every_type_that_numpy_has(tmp_path: Path, kind: str):
    path = tmp_path / "masks.safetensors"
    save_file({"head_mask": np.array(ROWS, dtype=kind)}, path)
    assert read_masks(path, 2) == {"head_mask": ROWS}


@pytest.mark.parametrize(
    ("kind", "name"), [(torch.bfloat16, "BF16"), (torch.float8_e4m3fn, "F8_E4M3"), (torch.complex64, "C64")]
)
def test_a_type_that_numpy_lacks_is_refused_with_those_it_has(tmp_path: Path, kind: torch.dtype, name: str):
    path = tmp_path / "masks.safetensors"
    save_torch_file({"ffn_mask": torch.zeros(2, 3).to(kind)}, path)
    with pytest.raises(UsageError, match=f"ffn_mask is of {name}; save it as one of BOOL, U8"):
        read_masks(path, 2)


@pytest.mark.parametrize("value", ["nan", "inf", "0.5", "2", "-1"])
def test_a_value_that_is_neither_0_nor_1_is_refused(tmp_path: Path, value: str):
    path = tmp_path / "masks.safetensors"
    save_file({"head_mask": np.array([[1, 0], [1, float(value)]])}, path)
    with pytest.raises(UsageError, match="head_mask, row 1: expected values of 0 or 1"):
        read_masks(path, 2)
    (tmp_path / "masks.yaml").write_text(f"head_mask: [[1, 0], [1, .{value}]]")
    with pytest.raises(UsageError, match="head_mask, row 1: expected values of 0 or 1"):
        read_masks(tmp_path / "masks.yaml", 2)


@pytest.mark.parametrize("rows", ["&a [*a]", "[" * 5_000, "!!map [1]", "&a [&b [1, 1], *b]"])
def test_a_masks_file_is_read_within_the_limits_of_profiles(tmp_path: Path, rows: str):
    (tmp_path / "masks.yaml").write_text(f"head_mask: {rows}")
    if "*b" in rows:
        assert read_masks(tmp_path / "masks.yaml", 2) == {"head_mask": [[1, 1], [1, 1]]}
    else:
        with pytest.raises(UsageError, match="line 1 is not valid YAML"):
            read_masks(tmp_path / "masks.yaml", 2)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 100])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "masks.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not a readable safetensors file"):
        read_masks(path, 2)
