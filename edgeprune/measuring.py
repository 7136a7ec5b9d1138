"""Models timed by turns until they can be judged, and what is said of it. The stage and the `benchmark` command share it."""

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from edgeprune.latency import (
    LOOKS,
    MINIMUM_SAMPLES,
    STEADY,
    DeviceRow,
    LatencyRow,
    drift,
    percentile,
    percentile_interval,
)
from edgeprune.profiles import BenchmarkConfig
from edgeprune.runners import Record, Runner
from edgeprune.runners.turns import time_by_turns
from edgeprune.variant import SessionOptions

__all__ = ["Load", "Measured", "measure"]

_ALONE = 3
"""Processes that each model has for itself."""


@dataclass(frozen=True)
class Load:
    """One model and what it is given."""

    path: Path
    session: SessionOptions
    batches: list[JsonValue]
    """As `agent.py` reads them; equally many for every model."""
    largest: JsonValue
    """The one that memory is measured with."""


@dataclass
class Measured:
    """What the agent's lines say, by model."""

    samples_ms: dict[str, list[list[float]]]
    """One list a process."""
    cold_starts_ms: dict[str, list[float]]
    memory_mb: dict[str, float | None] = field(default_factory=dict)
    device: Record = field(default_factory=dict)

    @property
    def device_row(self) -> DeviceRow:
        """What was measured on."""
        return DeviceRow.model_validate(self.device)

    def row(self, name: str, *, provider: str, threads: int, batch_size: int, lengths: str) -> LatencyRow:
        """One model's latency."""
        samples_ms = self.samples_ms[name]
        percentiles: dict[str, object] = {}
        moved = drift(samples_ms)
        for q in MINIMUM_SAMPLES:
            percentiles[f"p{q}_ms"] = percentile(samples_ms, q)
            percentiles[f"p{q}_interval_ms"] = percentile_interval(samples_ms, q)
        return LatencyRow(
            artifact=name,
            provider=provider,
            threads=threads,
            batch_size=batch_size,
            lengths=lengths,
            samples=sum(map(len, samples_ms)),
            processes=len(samples_ms),
            converged=None if moved is None else abs(moved) <= STEADY,
            cold_start_ms=round(statistics.median(starts), 3) if (starts := self.cold_starts_ms[name]) else None,
            peak_memory_mb=self.memory_mb.get(name),
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
            case _:
                pass


def measure(
    runner: Runner,
    loads: Mapping[str, Load],
    config: BenchmarkConfig,
    *,
    provider: str,
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
        samples: The file that every line of the agent is written to.
        undecided: Whether as many processes again could tell what these can't; they are taken, `LOOKS` times in all.
        progress: Called with (done, total, unit).
    """
    request: Record = {
        "provider": provider,
        "warmup": config.warmup,
        "sessions": {name: load.session.model_dump(mode="json") for name, load in loads.items()},
    }
    models = {name: load.path for name, load in loads.items()}
    timed: Record = {**request, "batches": {name: load.batches for name, load in loads.items()}}
    found = Measured({name: [] for name in loads}, {name: [] for name in loads})
    with samples.open("w", encoding="utf-8") as file:
        taken, total = 0, config.processes + _ALONE * len(loads)

        def keep(record: Record) -> None:
            nonlocal taken
            file.write(json.dumps(record) + "\n")
            found.add(record)
            if record["kind"] == "device":
                progress(taken, total, "processes")
                taken += 1

        for look in range(LOOKS):
            total = (look + 1) * config.processes + _ALONE * len(loads)
            numbers = range(look * config.processes, (look + 1) * config.processes)
            for name, process in time_by_turns(runner, timed, models, processes=numbers, keep=keep).items():
                found.samples_ms[name] += process
            if not undecided(found):
                break
        for name, load in list(loads.items()) * _ALONE:
            one: Record = {**request, "mode": "memory", "batches": {name: [load.largest]}}
            for record in runner.run(one, {name: load.path}):
                keep(record)
        progress(total, total, "processes")
    return found
