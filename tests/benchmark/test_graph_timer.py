"""edgeprune/benchmark/graph_timer.py: every graph is timed as often as the others, beside as many as memory holds."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune.base.errors import TargetError
from edgeprune.benchmark import graph_timer
from edgeprune.benchmark.graph_timer import time_graphs
from edgeprune.devices.fake import FakeRunner
from edgeprune.devices.protocol import LatencyRequest
from edgeprune.profiles.session_options import SessionOptions

SESSION = SessionOptions(threads=2)
BATCHES: list[Any] = [{"input_ids": [[1, number]]} for number in range(20)]


def timed(runner: FakeRunner, folder: Path, count: int = 5) -> dict[str, list[list[float]]]:
    graphs = {}
    for number in range(count):
        graphs[str(number)] = folder / f"{number}" / "model.onnx"
        graphs[str(number)].parent.mkdir()
        graphs[str(number)].write_bytes(bytes(1000))
    done: list[int] = []
    samples = time_graphs(
        runner, graphs, provider="CPUExecutionProvider", session=SESSION, batches=BATCHES, processes=3, seed=0,
        samples_file=folder / "samples.jsonl", progress=done.append,
    )  # fmt: skip
    assert done == [1, 2, 3]
    return samples


def test_all_graphs_take_turns_in_every_process(tmp_path: Path) -> None:
    runner = FakeRunner(lambda name, process: int(name) + process + 1.0)
    samples = timed(runner, tmp_path)
    assert samples == {str(n): [[n + process + 1.0] * 20 for process in range(3)] for n in range(5)}
    requests = runner.asked(LatencyRequest)
    assert len(requests) == 3
    assert all(list(request.sessions.values()) == [SESSION] * 5 for request in requests)
    assert {tuple(models) for _, models in runner.runs} != {tuple("01234")}, "the order changes from process to process"
    assert requests[0].batches["0"] == BATCHES == requests[1].batches["0"][::-1]
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["process"] for line in lines} == {0, 1, 2}


def test_no_process_has_more_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_timer, "_MOST_BYTES", 2500)
    runner = FakeRunner()
    samples = timed(runner, tmp_path)
    assert all(len(processes) == 3 for processes in samples.values())
    assert [len(models) for _, models in runner.runs] == [2, 2, 1] * 3


def test_a_graph_that_is_too_large_is_timed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_timer, "_MOST_BYTES", 10)
    runner = FakeRunner()
    timed(runner, tmp_path, count=2)
    assert [len(models) for _, models in runner.runs] == [1] * 6


def test_a_target_that_goes_away_ends_the_timing(tmp_path: Path) -> None:
    runner = FakeRunner(script=[[], TargetError("the board was lost in the middle")])
    with pytest.raises(TargetError, match="lost in the middle"):
        timed(runner, tmp_path)
    assert len(runner.runs) == 2
