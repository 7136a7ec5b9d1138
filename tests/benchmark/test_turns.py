"""Models timed by turns: who goes when, and what comes back."""

from collections.abc import Mapping
from pathlib import Path

from edgeprune.benchmark.turns import time_by_turns
from edgeprune.devices import Record
from edgeprune.profiles.pipeline import BLOCK


class _Device:
    """A runner that remembers what it was asked and answers with a sample a model: 1 ms, 2 ms … by place."""

    def __init__(self) -> None:
        self.orders: list[list[str]] = []
        self.requests: list[Record] = []

    def run(self, request: Record, models: Mapping[str, Path]) -> list[Record]:
        self.orders.append(list(models))
        self.requests.append(request)
        return [
            {"kind": "device"},
            *({"kind": "samples", "name": name, "ns": [place * 1_000_000]} for place, name in enumerate(models, 1)),
        ]


def _timed(device: _Device, processes: int, kept: list[Record]) -> None:
    models = {name: Path(name) for name in ("a", "b", "c")}
    time_by_turns(device, {"warmup": 3, "batches": {"a": [1, 2]}}, models, processes=range(processes), keep=kept.append)


def test_each_model_takes_each_place_once_in_as_many_processes_as_there_are_models() -> None:
    device = _Device()
    _timed(device, 3, [])
    assert [sorted(places) for places in zip(*device.orders, strict=True)] == [["a", "b", "c"]] * 3


def test_the_request_is_kept_and_asks_for_latency_in_blocks() -> None:
    device = _Device()
    _timed(device, 1, [])
    assert device.requests == [{"warmup": 3, "mode": "latency", "block": BLOCK, "batches": {"a": [1, 2]}}]


def test_every_second_process_takes_its_inputs_backwards() -> None:
    device = _Device()
    _timed(device, 3, [])
    assert [request["batches"] for request in device.requests] == [{"a": [1, 2]}, {"a": [2, 1]}, {"a": [1, 2]}]


def test_every_line_is_kept_with_its_process() -> None:
    kept: list[Record] = []
    _timed(_Device(), 2, kept)
    assert [(record["process"], record["kind"]) for record in kept] == [
        (process, kind) for process in (0, 1) for kind in ("device", "samples", "samples", "samples")
    ]
