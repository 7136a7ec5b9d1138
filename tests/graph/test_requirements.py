"""edgeprune/graph/requirements.py"""

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgeprune.graph.requirements import oldest_runtime


@pytest.mark.parametrize(
    ("opset", "ir_version", "operator", "attributes", "oldest"),
    [
        (20, 10, "Neg", {}, "1.18"),
        (21, 10, "Neg", {}, "1.18"),
        (22, 10, "Neg", {}, "1.21"),
        (23, 11, "Attention", {}, "1.23"),
        (20, 11, "Neg", {}, "1.23"),
        (20, 10, "MultiHeadAttention", {"num_heads": 2}, "1.18"),
        (20, 10, "MatMulNBits", {"bits": 8}, "1.22"),
        (20, 10, "MatMulNBits", {"bits": 4}, "1.18"),
        (20, 10, "GatherBlockQuantized", {"bits": 4}, "1.23"),
        (20, 10, "GatherBlockQuantized", {"bits": 2}, "1.27"),
    ],
)
def test_the_newest_thing_in_a_graph_decides(
    tmp_path: Path, opset: int, ir_version: int, operator: str, attributes: dict[str, Any], oldest: str
) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["y"]), helper.make_node(operator, ["y"], ["z"], **attributes)]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    made = helper.make_graph(nodes, "g", [value], [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n"])])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version), path)
    assert oldest_runtime(path) == oldest


def test_attention_with_a_mask_needs_a_newer_one(tmp_path: Path) -> None:
    inputs = ["q", "k", "v", "", "", "mask"]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in inputs if name]
    node = helper.make_node("MultiHeadAttention", inputs, ["z"], domain="com.microsoft", num_heads=2)
    made = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n"])])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    assert oldest_runtime(path) == "1.20"
    model = onnx.load(path)
    model.opset_import[0].version = 99
    onnx.save(model, path)
    with pytest.raises(KeyError):  # nobody has tried it
        oldest_runtime(path)
