"""edgeprune/benchmark/measure.py: what is asked, and the row that is made of the answers."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.benchmark.collected import Alone, Turns
from edgeprune.benchmark.measure import Load, Measured, measure
from edgeprune.benchmark.records import DeviceRow
from edgeprune.devices.fake import CREATE_MS, FAKE_DEVICE, PEAK_BYTES, FakeRunner
from edgeprune.devices.protocol import Download, LatencyRequest, MemoryRequest, ThroughputRequest
from edgeprune.profiles.pipeline import BLOCK, BenchmarkConfig
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.target import Workload

BATCHES: list[Any] = [{"input_ids": [[number]]} for number in range(40)]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    (tmp_path / "model.onnx").touch()
    return Load(tmp_path / "model.onnx", SessionOptions(threads=1), BATCHES, BATCHES[7])


def measured(
    runner: FakeRunner,
    load: Load,
    folder: Path,
    *,
    parallel: int = 1,
    looks: int = 1,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> Measured:
    """Four processes a look, so many times."""
    undecided = iter([True] * (looks - 1) + [False])
    return measure(
        runner, {"a": load}, BenchmarkConfig(processes=4, warmup=3), provider="CPUExecutionProvider", parallel=parallel,
        samples=folder / "samples.jsonl", undecided=lambda _: next(undecided), progress=progress,
    )  # fmt: skip


def test_answers_become_a_row() -> None:
    turns = Turns(
        samples_ms={"a": [[1.0] * 20] * 8},
        answers_ms={"a": [[3 + process / 1e6] * 20 for process in range(8)]},
        rates_per_s={"a": [35.0] * 8},
    )
    found = Measured(turns, Alone(nodes={"a": {"CPUExecutionProvider": 7}}))
    workload = Workload(batch_size=2, sessions=2)
    row = found.row("a", provider="CPUExecutionProvider", threads=1, workload=workload, lengths="data")
    assert (row.p50_ms, row.p90_ms) == (1, 1)
    assert row.text_p50_ms == pytest.approx(3.0000035)
    assert row.text_p90_interval_ms == pytest.approx((3.0, 3.000007))
    assert (row.sessions, row.throughput_per_s, row.throughput_interval_per_s) == (2, 70, (70, 70))
    assert row.nodes == {"CPUExecutionProvider": 7}
    assert (row.cold_start_ms, row.peak_memory_mb) == (None, None)


def test_a_download_is_what_a_page_fetched_and_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_bytes(b"a token, " * 50_000 + np.random.default_rng(0).bytes(550_000))
    download = Download(name="a", files={"model.onnx": 2_000_000, "runtime.wasm": 500_000}, gzip_bytes=2_100_000)
    turns = Turns(samples_ms={"a": [[1.0] * 20] * 8, "b": [[1.0] * 20] * 8})
    found = Measured(turns, Alone(downloads={"a": download}), {"a": tokenizer})
    a, b = (
        found.row(name, provider="CPUExecutionProvider", threads=1, workload=Workload(), lengths="data")
        for name in ("a", "b")
    )
    assert a.download_mb == 3.5
    assert a.download_gzip_mb == round(2.1 + len(gzip.compress(tokenizer.read_bytes(), 6)) / 1e6, 3)
    assert 2.65 < a.download_gzip_mb < 2.66  # gzip makes next to nothing of the words, and leaves the random bytes
    assert (b.download_mb, b.download_gzip_mb) == (None, None)


def test_a_device_and_its_conditions_are_told(load: Load, tmp_path: Path) -> None:
    row = measured(FakeRunner(), load, tmp_path).device_row
    assert row.before is not None
    assert row.before == row.after
    facts = FAKE_DEVICE.model_dump(exclude={"kind"})
    assert row == DeviceRow(**facts, before=row.before, after=row.after)


def test_times_are_of_turns_and_starts_and_memory_of_processes_alone(load: Load, tmp_path: Path) -> None:
    runner = FakeRunner(lambda _name, process: 1.0 + process)
    found = measured(runner, load, tmp_path)
    assert found.turns.samples_ms == {"a": [[1.0 + process] * 40 for process in range(4)]}
    assert found.alone.cold_starts_ms == {"a": [CREATE_MS + 1.0 + process for process in range(3)]}
    assert found.alone.memory_mb == {"a": PEAK_BYTES / 1e6}
    assert [(one.warmup, one.block) for one in runner.asked(LatencyRequest)] == [(3, BLOCK)] * 4
    assert [one.batches for one in runner.asked(MemoryRequest)] == [{"a": [BATCHES[7]]}] * 3


def test_every_line_is_written_with_the_process_of_those_in_turns(load: Load, tmp_path: Path) -> None:
    measured(FakeRunner(), load, tmp_path, parallel=2)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    numbers = [(line["kind"], line.get("process")) for line in lines]
    assert [number for kind, number in numbers if kind == "device"] == [0, 1, 2, 3, 0, 1, 2, 3, None, None, None]
    assert [number for kind, number in numbers if kind == "memory"] == [None] * 3
    assert all("in_order" not in line for line in lines), "as the agent says them"


def test_more_processes_are_taken_while_nothing_is_decided(load: Load, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    found = measured(
        FakeRunner(), load, tmp_path, looks=2, progress=lambda done, total, _unit: steps.append((done, total))
    )
    assert len(found.turns.samples_ms["a"]) == 8
    assert steps == [
        *((done, 7) for done in range(4)), *((done, 11) for done in range(4, 12))
    ]  # fmt: skip


def test_every_process_of_parallel_sessions_begins_at_other_batches(load: Load, tmp_path: Path) -> None:
    runner = FakeRunner()
    measured(runner, load, tmp_path, parallel=2)
    taken = [one.batches["a"] for one in runner.asked(ThroughputRequest)]
    assert [BATCHES.index(each[0]) for each in taken] == [0, 10, 20, 30]
    assert all(sorted(map(str, each)) == sorted(map(str, BATCHES)) for each in taken)
