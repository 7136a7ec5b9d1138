"""Models timed by turns: who goes when, and what comes back."""

import json
from pathlib import Path

import pytest

from edgeprune.benchmark.turns import Said, time_by_turns
from edgeprune.devices.fake import FAKE_DEVICE, FakeRunner
from edgeprune.devices.protocol import LatencyRequest, ModelTimes, SessionStart
from edgeprune.profiles.session_options import SessionOptions

NAMES = ("a", "b", "c")
FORWARDS = {name: [{"input_ids": [[number]]} for number in (1, 2)] for name in NAMES}
BACKWARDS = {name: each[::-1] for name, each in FORWARDS.items()}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / name for name in NAMES}
    for path in paths.values():
        path.touch()
    return paths


def timed(device: FakeRunner, models: dict[str, Path], processes: int) -> list[Said]:
    sessions = dict.fromkeys(NAMES, SessionOptions(threads=1))
    request = LatencyRequest(provider="p", sessions=sessions, batches=FORWARDS, warmup=3, block=10)
    return list(time_by_turns(device, request, models, processes=range(processes)))


def test_each_model_takes_each_place_once_in_as_many_processes_as_there_are_models(models: dict[str, Path]) -> None:
    device = FakeRunner()
    timed(device, models, 3)
    orders = [list(found) for _, found in device.runs]
    assert [sorted(places) for places in zip(*orders, strict=True)] == [[*NAMES]] * 3


def test_every_second_process_takes_its_inputs_backwards_and_all_else_is_asked_alike(models: dict[str, Path]) -> None:
    device = FakeRunner()
    timed(device, models, 3)
    asked = device.asked(LatencyRequest)
    assert [request.model_dump()["batches"] for request in asked] == [FORWARDS, BACKWARDS, FORWARDS]
    assert [(one.warmup, one.block, list(one.sessions)) for one in asked] == [(3, 10, [*NAMES])] * 3


def test_every_answer_is_kept_with_its_process(models: dict[str, Path]) -> None:
    kept = timed(FakeRunner(), models, 2)
    assert [(said.process, said.answer.kind) for said in kept] == [
        (process, kind)
        for process in (0, 1)
        for kind in ("device", "conditions", *["session"] * 3, *["samples"] * 3, "conditions")
    ]


def test_a_process_begins_only_when_it_is_asked_for(models: dict[str, Path]) -> None:
    device = FakeRunner()
    sessions = dict.fromkeys(NAMES, SessionOptions(threads=1))
    request = LatencyRequest(provider="p", sessions=sessions, batches=FORWARDS, warmup=0, block=1)
    next(time_by_turns(device, request, models, processes=range(5)))
    assert len(device.runs) == 1


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (Said(ModelTimes(name="a", ns=[1, 2]), 3), {"process": 3, "kind": "samples", "name": "a", "ns": [1, 2]}),
        (
            Said(ModelTimes(name="a", ns=[1], in_order=False), 0),
            {"process": 0, "kind": "samples", "name": "a", "ns": [1], "in_order": False},
        ),
        (
            Said(SessionStart(name="a", create_ns=1, first_run_ns=2), None),
            {"kind": "session", "name": "a", "create_ns": 1, "first_run_ns": 2},
        ),
        (Said(FAKE_DEVICE, None), {"kind": "device", **FAKE_DEVICE.model_dump(exclude={"kind", "clock_ns"})}),
    ],
)
def test_a_line_is_the_agents_own_with_the_process(said: Said, line: dict[str, object]) -> None:
    assert said.line == json.dumps(line) + "\n"
