"""edgeprune/benchmark/measure.py: what is made of the agent's lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeprune.benchmark.measure import Load, Measured, measure
from edgeprune.devices import Record
from edgeprune.profiles.pipeline import BenchmarkConfig
from edgeprune.profiles.target import Workload
from edgeprune.profiles.variant import SessionOptions


def found(*records: Record) -> Measured:
    result = Measured({"a": []}, {"a": []})
    for record in records:
        result.add(record)
    return result


def conditions(moment: str, load: float, **changes: Any) -> Record:
    names = ("governor", "frequency_mhz", "temperature_c", "throttle_events", "quota_cores", "affinity")
    return {"kind": "conditions", "moment": moment, **dict.fromkeys(names), "load_1min": load, "reasons": {}, **changes}


def test_conditions_are_those_before_the_first_and_after_the_last_process_that_was_timed() -> None:
    device = {"arch": "x86_64", "isa": [], "cpu": "c", "cores": 1, "system": "s", "python": "3", "onnxruntime": "1"}
    timed = [
        {"process": process, **conditions(moment, load)}
        for process, moment, load in ((0, "before", 1), (0, "after", 2), (1, "before", 3), (1, "after", 4))
    ]
    row = found({"kind": "device", "process": 0, **device}, *timed, conditions("after", 5)).device_row
    assert row.before is not None
    assert row.after is not None
    assert (row.before.load_1min, row.after.load_1min) == (1, 4)


def test_a_start_is_one_that_a_model_had_alone() -> None:
    start: Record = {"kind": "session", "name": "a", "create_ns": 3_000_000, "first_run_ns": 1_000_000}
    assert found({"process": 0, **start}).cold_starts_ms == {"a": []}
    assert found(start).cold_starts_ms == {"a": [4.0]}


def test_lines_of_answers_sessions_and_nodes_become_a_row() -> None:
    two = {"runs": [30, 10], "ns": [10**9, 2 * 10**9]}
    lines: list[Record] = []
    for process in range(8):
        lines += [
            {"process": process, "kind": "samples", "name": "a", "ns": [1_000_000] * 20},
            {"process": process, "kind": "answers", "name": "a", "ns": [3_000_000 + process] * 20},
            {"process": process, "kind": "throughput", "name": "a", **two},
        ]
    measured = found(*lines, {"kind": "placement", "name": "a", "nodes": {"CPUExecutionProvider": 7}})
    workload = Workload(batch_size=2, sessions=2)
    row = measured.row("a", provider="CPUExecutionProvider", threads=1, workload=workload, lengths="data")
    assert (row.p50_ms, row.p90_ms) == (1, 1)
    assert row.text_p50_ms == pytest.approx(3.0000035)
    assert row.text_p90_interval_ms == pytest.approx((3.0, 3.000007))
    assert (row.sessions, row.throughput_per_s, row.throughput_interval_per_s) == (2, 70, (70, 70))
    assert row.nodes == {"CPUExecutionProvider": 7}


def test_every_process_of_parallel_sessions_begins_at_other_batches(tmp_path: Path) -> None:
    asked: list[Record] = []

    class Device:
        def run(self, request: Record, models: Mapping[str, Path]) -> list[Record]:
            asked.append(request)
            return [{"kind": "device"}]

        def close(self) -> None:
            """Nothing is open."""

    batches: list[Any] = [{"input_ids": [[number]]} for number in range(40)]
    load = Load(tmp_path / "model.onnx", SessionOptions(threads=1), batches, batches[0])
    measure(
        Device(), {"a": load}, BenchmarkConfig(processes=4), provider="CPUExecutionProvider", parallel=2,
        samples=tmp_path / "samples.jsonl", undecided=lambda _: False, progress=lambda *_: None,
    )  # fmt: skip
    taken = [one["batches"]["a"] for one in asked if one["mode"] == "throughput"]  # type: ignore[index, call-overload]
    assert [batches.index(each[0]) for each in taken] == [0, 10, 20, 30]  # type: ignore[index, call-overload]
    assert all(sorted(map(str, each)) == sorted(map(str, batches)) for each in taken)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("peaks", "wanted"), [([5e6, 7e6, 6e6], 7.0), ([7e6], 7.0), ([None, 7e6], 7.0), ([None, None], None)]
)
def test_memory_is_the_largest_peak(peaks: list[float | None], wanted: float | None) -> None:
    lines: list[Record] = [
        {"kind": "memory", "name": "a", "peak_bytes": None if peak is None else int(peak)} for peak in peaks
    ]
    assert found(*lines).memory_mb == {"a": wanted}
