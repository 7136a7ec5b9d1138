import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgeprune.base.errors import ModelError
from edgeprune.models.weights import read_shapes, weight_files

NAME = "bert.encoder.layer.0.output.dense.weight"


def write(path: Path, **tensors: np.ndarray) -> None:
    save_file({name.replace("__", "."): value for name, value in tensors.items()}, path)


def test_shapes_are_those_of_the_tensors_in_all_shards(tmp_path: Path) -> None:
    write(tmp_path / "model-1.safetensors", a__weight=np.zeros((2, 3), np.float32))
    write(tmp_path / "model-2.safetensors", b__position_ids=np.zeros((1, 5), np.int64))
    index = {"weight_map": {"a.weight": "model-1.safetensors", "b.position_ids": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert read_shapes(tmp_path) == {"a.weight": (2, 3), "b.position_ids": (1, 5)}
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks 1 of the 2 files that .*index.json names, model-2.safetensors among"):
        weight_files(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'])
def test_an_index_that_names_no_files_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"index\.json"):
        weight_files(tmp_path)


def test_a_file_that_transformers_would_not_read_is_named(tmp_path: Path) -> None:
    write(tmp_path / "weights.safetensors", a=np.zeros(1, np.float32))
    with pytest.raises(ModelError, match=r"holds weights.safetensors, but no model.safetensors"):
        read_shapes(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (NAME, np.zeros((2, 2), np.int8)),
        (NAME, np.zeros((2, 2), np.uint8)),
        (NAME.replace("weight", "qweight"), np.zeros((2, 2), np.int32)),
        (NAME.replace("weight", "weight_packed"), np.zeros((2, 2), np.int32)),
    ],
)
def test_quantized_weights_are_refused(tmp_path: Path, name: str, value: np.ndarray) -> None:
    save_file({name: value}, tmp_path / "model.safetensors")
    with pytest.raises(
        ModelError, match=r"is a quantized checkpoint \(bert\.encoder\..*; give the model that it was made"
    ):
        read_shapes(tmp_path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (f"_orig_mod.{NAME}", "torch.compile"),
        (f"module.{NAME}", "DistributedDataParallel"),
        (f"module._orig_mod.{NAME}", "DistributedDataParallel"),
        ("bert._orig_mod.encoder.layer.0.output.dense.weight", "torch.compile"),
        (f"_fsdp_wrapped_module.{NAME}", "FSDP"),
        ("base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.default.weight", "PEFT"),
    ],
)
def test_what_was_left_around_the_model_is_named(tmp_path: Path, name: str, what: str) -> None:
    save_file({name: np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=rf"was saved with {what} around the model.*save the model itself: "):
        read_shapes(tmp_path)
