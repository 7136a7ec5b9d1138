"""Models timed by turns until they can be judged, and what is said of it. The stage and the `benchmark` command share it."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from edgeprune.benchmark.records import DeviceRow, LatencyRow
from edgeprune.benchmark.statistics import (
    LEVEL,
    LOOKS,
    MINIMUM_SAMPLES,
    STEADY,
    drift,
    order_interval,
    percentile,
    percentile_interval,
)
from edgeprune.benchmark.turns import time_by_turns
from edgeprune.devices import Record, Runner
from edgeprune.profiles.pipeline import BenchmarkConfig
from edgeprune.profiles.target import Workload
from edgeprune.profiles.variant import SessionOptions

__all__ = ["Load", "Measured", "measure"]

_ALONE = 3
"""Processes that each model has for itself."""

_THROUGHPUT_S = 1.0
"""Seconds that parallel sessions run in each process."""


@dataclass(frozen=True)
class Load:
    """One model and what it is given."""

    path: Path
    session: SessionOptions
    batches: list[JsonValue]
    """As `agent.py` reads them; equally many for every model."""
    largest: JsonValue
    """The one that memory is measured with."""
    package: Path | None = None
    """A folder, from whose texts or images to answers is timed too; None: it isn't."""
    contents: list[JsonValue] = field(default_factory=list)
    """These, as goldens keep them; equally many for every model."""


@dataclass
class Measured:
    """What the agent's lines say, by model."""

    samples_ms: dict[str, list[list[float]]]
    """One list a process."""
    cold_starts_ms: dict[str, list[float]]
    memory_mb: dict[str, float | None] = field(default_factory=dict)
    nodes: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of a model, how many each provider ran."""
    answers_ms: dict[str, list[list[float]]] = field(default_factory=dict)
    """From an input to its answer; one list a process."""
    rates_per_s: dict[str, list[float]] = field(default_factory=dict)
    """Runs in a second of all parallel sessions, one a process."""
    device: Record = field(default_factory=dict)
    in_order: bool = True
    """Whether samples stand in the order in which they were taken."""

    @property
    def device_row(self) -> DeviceRow:
        """What was measured on."""
        return DeviceRow.model_validate(self.device)

    def row(self, name: str, *, provider: str, threads: int, workload: Workload, lengths: str) -> LatencyRow:
        """One model's latency."""
        samples_ms, answers_ms = self.samples_ms[name], self.answers_ms.get(name, [])
        rates = [rate * workload.batch_size for rate in self.rates_per_s.get(name, [])]
        percentiles: dict[str, object] = {}
        moved = drift(samples_ms) if self.in_order else None
        for q in MINIMUM_SAMPLES:
            percentiles[f"p{q}_ms"] = percentile(samples_ms, q)
            percentiles[f"p{q}_interval_ms"] = percentile_interval(samples_ms, q)
        for q in (50, 90) if answers_ms else ():
            percentiles[f"text_p{q}_ms"] = percentile(answers_ms, q)
            percentiles[f"text_p{q}_interval_ms"] = percentile_interval(answers_ms, q)
        return LatencyRow(
            artifact=name,
            provider=provider,
            threads=threads,
            batch_size=workload.batch_size,
            lengths=lengths,
            samples=sum(map(len, samples_ms)),
            processes=len(samples_ms),
            converged=None if moved is None else abs(moved) <= STEADY,
            cold_start_ms=round(statistics.median(starts), 3) if (starts := self.cold_starts_ms[name]) else None,
            peak_memory_mb=self.memory_mb.get(name),
            nodes=self.nodes.get(name, {}),
            sessions=workload.sessions,
            throughput_per_s=statistics.median(rates) if rates else None,
            throughput_interval_per_s=order_interval(rates, LEVEL) if rates else None,
            **percentiles,
        )

    def add(self, record: Record) -> None:
        """Take a line: with its process's number, of one in which models took turns, else of one that a model had alone."""
        if "process" in record:
            self._add_turns(record)
        else:
            self._add_alone(record)

    def _add_turns(self, record: Record) -> None:
        match record:
            case {"kind": "device"}:
                self.device |= {name: value for name, value in record.items() if name not in ("kind", "process")}
            case {"kind": "conditions", "moment": str(moment)}:
                told = {name: value for name, value in record.items() if name not in ("kind", "process", "moment")}
                if moment == "after" or moment not in self.device:
                    self.device[moment] = told
            case {"kind": "samples", "name": str(name), "ns": list(ns)}:
                self.samples_ms[name].append(_ms(ns))
                self.in_order = self.in_order and record.get("in_order") is not False
            case {"kind": "answers", "name": str(name), "ns": list(ns)}:
                self.answers_ms.setdefault(name, []).append(_ms(ns))
            case {"kind": "throughput", "name": str(name), "runs": list(runs), "ns": list(ns)}:
                counts = cast("list[int]", runs)
                rates = [1e3 * count / ms for count, ms in zip(counts, _ms(ns), strict=True)]
                self.rates_per_s.setdefault(name, []).append(sum(rates))
            case _:
                pass

    def _add_alone(self, record: Record) -> None:
        match record:
            case {"kind": "session", "name": str(name), "create_ns": int(created), "first_run_ns": int(first)}:
                self.cold_starts_ms[name].append((created + first) / 1e6)
            case {"kind": "memory", "name": str(name), "peak_bytes": peak}:
                before = self.memory_mb.get(name)
                now = round(peak / 1e6, 1) if isinstance(peak, int) else None
                self.memory_mb[name] = now if before is None or now is None else max(now, before)
            case {"kind": "placement", "name": str(name), "nodes": dict(nodes)}:
                self.nodes[name] = cast("dict[str, int]", nodes)
            case _:
                pass


def _ms(values: Sequence[JsonValue]) -> list[float]:
    return [ns / 1e6 for ns in cast("Sequence[int]", values)]


def measure(
    runner: Runner,
    loads: Mapping[str, Load],
    config: BenchmarkConfig,
    *,
    provider: str,
    parallel: int,
    samples: Path,
    undecided: Callable[[Measured], bool],
    progress: Callable[[int, int, str], None],
) -> Measured:
    """Time models by turns; memory and cold start are read in processes that each model has for itself.

    Args:
        runner: How the target is reached.
        loads: By name.
        config: How many processes, runs and warm-up runs.
        provider: ONNX Runtime's execution provider.
        parallel: Sessions that run at once to tell the throughput; 1: it isn't measured.
        samples: The file that every line of the agent is written to.
        undecided: Whether as many processes again could tell what these can't; they are taken, `LOOKS` times in all.
        progress: Called with (done, total, unit).
    """
    request: Record = {
        "provider": provider,
        "warmup": config.warmup,
        "sessions": {name: load.session.model_dump(mode="json") for name, load in loads.items()},
    }
    a_look = config.processes * (2 if any(load.package for load in loads.values()) else 1)
    once = _ALONE * len(loads) + (config.processes if parallel > 1 else 0)
    found = Measured({name: [] for name in loads}, {name: [] for name in loads})
    with samples.open("w", encoding="utf-8") as file:
        taken, total = 0, a_look + once

        def keep(record: Record) -> None:
            nonlocal taken
            file.write(json.dumps(record) + "\n")
            found.add(record)
            if record["kind"] == "device":
                progress(taken, total, "processes")
                taken += 1

        for look in range(LOOKS):
            total = (look + 1) * a_look + once
            numbers = range(look * config.processes, (look + 1) * config.processes)
            _by_turns(runner, request, loads, numbers, keep)
            if not undecided(found):
                break
        if parallel > 1:
            _in_parallel(runner, {**request, "parallel": parallel}, loads, config.processes, keep)
        _alone(runner, request, loads, keep)
        progress(total, total, "processes")
    return found


Keep = Callable[[Record], object]


def _by_turns(runner: Runner, request: Record, loads: Mapping[str, Load], processes: range, keep: Keep) -> None:
    models = {name: load.path for name, load in loads.items()}
    timed: Record = {**request, "batches": {name: load.batches for name, load in loads.items()}}
    time_by_turns(runner, timed, models, processes=processes, keep=keep)
    packages = {name: load.package for name, load in loads.items() if load.package is not None}
    if packages:
        answered: Record = {**request, "batches": {name: loads[name].contents for name in packages}}
        time_by_turns(runner, answered, packages, processes=processes, keep=keep, mode="answers")


def _in_parallel(runner: Runner, request: Record, loads: Mapping[str, Load], processes: int, keep: Keep) -> None:
    for process in range(processes):
        # Where a second is short, each process takes other batches.
        first = {name: process * len(load.batches) // processes for name, load in loads.items()}
        batches: JsonValue = {
            name: load.batches[first[name] :] + load.batches[: first[name]] for name, load in loads.items()
        }
        asked: Record = {**request, "mode": "throughput", "seconds": _THROUGHPUT_S, "batches": batches}
        for record in runner.run(asked, {name: load.path for name, load in loads.items()}):
            keep({"process": process, **record})


def _alone(runner: Runner, request: Record, loads: Mapping[str, Load], keep: Keep) -> None:
    for name, load in list(loads.items()) * _ALONE:
        one: Record = {**request, "mode": "memory", "batches": {name: [load.largest]}}
        for record in runner.run(one, {name: load.path}):
            keep(record)
