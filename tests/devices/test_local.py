"""edgeprune/devices/local.py"""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgeprune.base.errors import TargetError
from edgeprune.devices.local import LocalRunner
from edgeprune.devices.protocol import ModelTimes, Request, of_type
from tests.support.agent_requests import asked


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


def test_answers_come_back_in_the_order_of_the_models(graph: Path):
    times = of_type(LocalRunner().run(asked(), {"final": graph, "dense": graph}), ModelTimes)
    assert [one.name for one in times] == ["final", "dense"]
    assert all(len(one.ns) == 3 for one in times)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (asked(provider="NoSuchExecutionProvider"), "not NoSuchExecutionProvider"),
        (asked(batches={"final": [{"other": [[1]]}]}), "input_ids"),
        (asked(sessions={}), "the benchmark failed on this machine: 'final'"),
    ],
)
def test_a_failing_agent_is_a_target_error(graph: Path, request_: Request, message: str):
    with pytest.raises(TargetError, match=message) as caught:
        LocalRunner().run(request_, {"final": graph})
    assert caught.value.exit_code == 6
