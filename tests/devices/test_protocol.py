"""edgeprune/devices/protocol.py: what goes to the agent and comes back from it is what the types say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgeprune.devices.agent_answer import read_answer
from edgeprune.devices.protocol import DeviceFacts, ModelTimes, PeakMemory, of_type
from edgeprune.ondevice import agent
from tests.devices.test_ssh import write_graph
from tests.support.agent_requests import asked

SESSIONS = {name: {"threads": 1, "level": "all", "arena": True, "config": {}} for name in ("dense", "final")}
BATCHES = {name: [{"input_ids": [[1, 2]]}] * 3 for name in ("dense", "final")}
MODELS = [{"name": "final", "path": "/there/model.onnx"}]
OF_MODELS: dict[str, Any] = {"provider": "CPUExecutionProvider", "sessions": SESSIONS, "batches": BATCHES}


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("probe", {"provider": "CPUExecutionProvider"}),
        ("load", OF_MODELS),
        ("outputs", OF_MODELS),
        ("latency", {**OF_MODELS, "warmup": 1, "block": 2}),
        ("answers", {"provider": "CPUExecutionProvider", "batches": BATCHES, "warmup": 1, "block": 2}),
        ("throughput", {**OF_MODELS, "warmup": 1, "parallel": 2, "seconds": 0.1}),
        ("memory", OF_MODELS),
    ],
)
def test_a_request_goes_to_the_agent_with_these_keys(mode: str, wanted: dict[str, Any]) -> None:
    sent = json.loads(asked(mode).as_json({"final": "/there/model.onnx"}))
    assert sent == {"mode": mode, **wanted, "models": MODELS}


def test_inputs_are_ids_or_drawn_and_texts_go_as_they_are() -> None:
    drawn = {"pixel_values": {"seed": 3, "shape": [1, 3, 4, 4]}, "input_ids": [[1, 2], [3, 4]]}
    texts = ["good", ["one", "two"], "aW1hZ2U="]
    assert json.loads(asked(batches={"a": [drawn]}).as_json({}))["batches"] == {"a": [drawn]}
    assert json.loads(asked("answers", batches={"a": texts}).as_json({}))["batches"] == {"a": texts}
    with pytest.raises(ValidationError, match="batches"):
        asked(batches={"a": [{"input_ids": "good"}]})


@pytest.mark.parametrize("mode", ["probe", "load", "outputs", "latency", "throughput", "memory"])
def test_every_line_of_the_agent_is_an_answer_that_keeps_it_as_it_was_said(tmp_path: Path, mode: str) -> None:
    graph = write_graph(tmp_path / "a" / "model.onnx")
    models = {} if mode == "probe" else {"final": str(graph)}
    request = asked(mode)
    done = subprocess.run(
        [sys.executable, agent.__file__], input=request.as_json(models), capture_output=True, text=True, check=False
    )
    answers = read_answer(done, request, models, place="here", python="python")
    if mode == "outputs":  # whole numbers here, for which models have no use
        assert [one.record() for one in answers] == [json.loads(line) for line in done.stdout.splitlines()]
    else:
        assert [json.dumps(one.record()) for one in answers] == done.stdout.splitlines()
    told = [one.kind for one in answers if one.kind not in ("device", "conditions")]
    of_pages = {"download"}
    assert set(told) == {kind for kind in (request.told, *request.beside) if kind is not None} - of_pages


def test_what_was_not_said_is_not_kept() -> None:
    assert ModelTimes(name="a", ns=[1]).record() == {"kind": "samples", "name": "a", "ns": [1]}
    assert ModelTimes(name="a", ns=[1], in_order=True).record()["in_order"] is True
    assert PeakMemory(name="a", peak_bytes=None).record()["peak_bytes"] is None


def test_answers_are_picked_by_type_in_their_order() -> None:
    first, second = ModelTimes(name="a", ns=[1]), ModelTimes(name="b", ns=[2_500_000])
    answers = [first, PeakMemory(name="a", peak_bytes=1), second]
    assert of_type(answers, ModelTimes) == [first, second]
    assert of_type(answers, DeviceFacts) == []
    assert second.ms == [2.5]
