"""Time models by turns until they can be judged, and make rows of the result.

The `benchmark` stage and the `benchmark` command share this module.
"""

import gzip
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from edgeprune.benchmark.collected import Alone, Turns, collect_alone, collect_turns
from edgeprune.benchmark.records import ConditionsRow, DeviceRow, LatencyRow
from edgeprune.benchmark.statistics import (
    LEVEL,
    LOOKS,
    MINIMUM_SAMPLES,
    STEADY,
    drift,
    mean,
    mean_interval,
    order_interval,
    percentile,
    percentile_interval,
)
from edgeprune.benchmark.turns import Said, time_by_turns
from edgeprune.devices import Runner
from edgeprune.devices.protocol import (
    Answer,
    AnswersRequest,
    Conditions,
    DeviceFacts,
    LatencyRequest,
    MemoryRequest,
    ThroughputRequest,
)
from edgeprune.profiles.pipeline import BLOCK, BenchmarkConfig
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.target import Workload

__all__ = ["Load", "Measured", "measure"]

_ALONE = 3
"""How many processes run each model alone."""

_THROUGHPUT_S = 1.0
"""Seconds for which parallel sessions run in each process."""


@dataclass(frozen=True)
class Load:
    """Name one model and what it is given."""

    path: Path
    session: SessionOptions
    batches: list[JsonValue]
    """Batches in the form of `protocol.Batch`; every model has equally many."""
    largest: JsonValue
    """The largest batch, with which memory is measured."""
    tokenizer: Path | None = None
    """The tokenizer's file, which a page fetches too; None: the model reads images."""
    package: Path | None = None
    """Folder of the package that is also timed from an input to its answer; None: no package is timed."""
    contents: list[JsonValue] = field(default_factory=list)
    """Texts or images that the package is given, in the form of goldens; every package has equally many."""


@dataclass(frozen=True)
class Measured:
    """Hold what a device answered, and make rows of the answers."""

    turns: Turns
    alone: Alone
    tokenizers: Mapping[str, Path | None] = field(default_factory=dict)
    """The tokenizer's file by model, which counts as fetched by a page; None: the model has none."""

    @property
    def device_row(self) -> DeviceRow:
        """The device that was measured, with its conditions before and after."""
        turns = self.turns
        assert turns.device is not None  # noqa: S101 (every process begins with it)
        facts = turns.device.model_dump(exclude={"kind"})
        return DeviceRow(**facts, before=_conditions_row(turns.before), after=_conditions_row(turns.after))

    def row(self, name: str, *, provider: str, threads: int, workload: Workload, lengths: str) -> LatencyRow:
        """Make the row of one model.

        Args:
            name: The model's name.
            provider: ONNX Runtime's execution provider.
            threads: Threads of the model's session.
            workload: The workload that was timed.
            lengths: The lengths of the inputs, in the words of `LatencyRow.lengths`.
        """
        samples_ms, answers_ms = self.turns.samples_ms[name], self.turns.answers_ms.get(name, [])
        rates = [rate * workload.batch_size for rate in self.turns.rates_per_s.get(name, [])]
        figures: dict[str, object] = {"mean_ms": mean(samples_ms), "mean_interval_ms": mean_interval(samples_ms)}
        moved = drift(samples_ms) if self.turns.in_order else None
        for q in MINIMUM_SAMPLES:
            figures[f"p{q}_ms"] = percentile(samples_ms, q)
            figures[f"p{q}_interval_ms"] = percentile_interval(samples_ms, q)
        for q in (50, 90) if answers_ms else ():
            figures[f"text_p{q}_ms"] = percentile(answers_ms, q)
            figures[f"text_p{q}_interval_ms"] = percentile_interval(answers_ms, q)
        starts_ms = self.alone.cold_starts_ms.get(name)
        download_mb, download_gzip_mb = self._download_mb(name)
        return LatencyRow(
            artifact=name,
            provider=provider,
            threads=threads,
            batch_size=workload.batch_size,
            lengths=lengths,
            samples=sum(map(len, samples_ms)),
            processes=len(samples_ms),
            converged=None if moved is None else abs(moved) <= STEADY,
            cold_start_ms=round(statistics.median(starts_ms), 3) if starts_ms else None,
            peak_memory_mb=self.alone.memory_mb.get(name),
            download_mb=download_mb,
            download_gzip_mb=download_gzip_mb,
            nodes=self.alone.nodes.get(name, {}),
            sessions=workload.sessions,
            throughput_per_s=statistics.median(rates) if rates else None,
            throughput_interval_per_s=order_interval(rates, LEVEL) if rates else None,
            **figures,
        )

    def _download_mb(self, name: str) -> tuple[float | None, float | None]:
        """What a page fetches for a model, without compression and with gzip. None: it is no page."""
        download, tokenizer = self.alone.downloads.get(name), self.tokenizers.get(name)
        if download is None:
            return None, None
        read = b"" if tokenizer is None else tokenizer.read_bytes()
        plain, small = sum(download.files.values()) + len(read), download.gzip_bytes + len(gzip.compress(read, 6))
        return round(plain / 1e6, 3), round(small / 1e6, 3)


def _conditions_row(conditions: Conditions | None) -> ConditionsRow | None:
    return None if conditions is None else ConditionsRow(**conditions.model_dump(exclude={"kind", "moment"}))


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
    """Time models by turns. Memory and cold start are measured in processes that run one model alone.

    Args:
        runner: How the target is reached.
        loads: Each model and what it is given, by the model's name.
        config: How many processes, runs and warm-up runs are made.
        provider: ONNX Runtime's execution provider.
        parallel: How many sessions run at once when throughput is measured; 1: throughput isn't measured.
        samples: The file that every line of the agent is written to.
        undecided: Says whether more processes could decide what was measured so far. If so, as many processes again are
            run, until there were `LOOKS` looks in all.
        progress: A function that is called with (done, total, unit).
    """
    asking = _Asking(runner, loads, provider, config.warmup)
    a_look = config.processes * (2 if any(load.package for load in loads.values()) else 1)
    once = _ALONE * len(loads) + (config.processes if parallel > 1 else 0)
    taken, total = 0, a_look + once
    turns: list[Answer] = []
    with samples.open("w", encoding="utf-8") as file:

        def kept(answers: Iterable[Said]) -> Iterator[Answer]:
            nonlocal taken
            for said in answers:
                file.write(said.line)
                if isinstance(said.answer, DeviceFacts):
                    progress(taken, total, "processes")
                    taken += 1
                yield said.answer

        for look in range(LOOKS):
            total = (look + 1) * a_look + once
            turns += kept(asking.by_turns(range(look * config.processes, (look + 1) * config.processes)))
            if not undecided(Measured(collect_turns(turns), Alone())):
                break
        if parallel > 1:
            turns += kept(asking.at_once(parallel, config.processes))
        alone = list(kept(asking.alone()))
        progress(total, total, "processes")
    return Measured(collect_turns(turns), collect_alone(alone), {name: load.tokenizer for name, load in loads.items()})


@dataclass(frozen=True)
class _Asking:
    """Ask a runner about models, in fresh processes."""

    runner: Runner
    loads: Mapping[str, Load]
    provider: str
    warmup: int

    @property
    def _sessions(self) -> dict[str, SessionOptions]:
        return {name: load.session for name, load in self.loads.items()}

    @property
    def _models(self) -> dict[str, Path]:
        return {name: load.path for name, load in self.loads.items()}

    def by_turns(self, processes: range) -> Iterator[Said]:
        """Time models by turns, then their packages by turns."""
        timed = LatencyRequest(
            provider=self.provider,
            sessions=self._sessions,
            batches={name: load.batches for name, load in self.loads.items()},
            warmup=self.warmup,
            block=BLOCK,
        )
        yield from time_by_turns(self.runner, timed, self._models, processes=processes)
        packages = {name: load.package for name, load in self.loads.items() if load.package is not None}
        if packages:
            answered = AnswersRequest(
                provider=self.provider,
                batches={name: self.loads[name].contents for name in packages},
                warmup=self.warmup,
                block=BLOCK,
            )
            yield from time_by_turns(self.runner, answered, packages, processes=processes)

    def at_once(self, parallel: int, processes: int) -> Iterator[Said]:
        """Run several sessions of each model at once."""
        for process in range(processes):
            # A second may be too short for all batches, so each process begins with other batches.
            first = {name: process * len(load.batches) // processes for name, load in self.loads.items()}
            request = ThroughputRequest(
                provider=self.provider,
                sessions=self._sessions,
                batches={
                    name: load.batches[first[name] :] + load.batches[: first[name]] for name, load in self.loads.items()
                },
                warmup=self.warmup,
                parallel=parallel,
                seconds=_THROUGHPUT_S,
            )
            for answer in self.runner.run(request, self._models):
                yield Said(answer, process)

    def alone(self) -> Iterator[Said]:
        """Run each model in processes of its own."""
        for name, load in list(self.loads.items()) * _ALONE:
            request = MemoryRequest(provider=self.provider, sessions=self._sessions, batches={name: [load.largest]})
            for answer in self.runner.run(request, {name: load.path}):
                yield Said(answer, None)
