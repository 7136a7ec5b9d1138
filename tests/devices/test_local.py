"""edgeprune/devices/local.py"""

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgeprune.base.errors import TargetError
from edgeprune.devices.local import LocalRunner

REQUEST: dict[str, Any] = {
    "mode": "latency",
    "provider": "CPUExecutionProvider",
    "sessions": {name: {"threads": 1, "level": "all", "arena": True, "config": {}} for name in ("dense", "final")},
    "warmup": 1,
    "block": 2,
    "batches": dict.fromkeys(("dense", "final"), [{"input_ids": [[1, 2]]}] * 3),
}


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    made = helper.make_graph(
        [helper.make_node("Neg", ["input_ids"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.INT64, ["batch", "tokens"])],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_the_agents_lines_come_back_in_the_order_of_the_models(graph: Path):
    records = LocalRunner().run(REQUEST, {"final": graph, "dense": graph})
    samples = [record for record in records if record["kind"] == "samples"]
    assert [record["name"] for record in samples] == ["final", "dense"]
    assert all(len(record["ns"]) == 3 for record in samples)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"provider": "NoSuchExecutionProvider"}, "not NoSuchExecutionProvider"),
        ({"batches": {"final": [{"other": [[1]]}]}}, "input_ids"),
        ({"mode": "magic"}, "the benchmark failed on this machine: 'magic'"),
    ],
)
def test_a_failing_agent_is_a_target_error(graph: Path, changes: dict[str, Any], message: str):
    with pytest.raises(TargetError, match=message) as caught:
        LocalRunner().run(REQUEST | changes, {"final": graph})
    assert caught.value.exit_code == 6
