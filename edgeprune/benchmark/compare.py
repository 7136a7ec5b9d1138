"""Packages timed on a target: one against the target's latency budgets, or two by turns against each other.

    report = benchmark([Path("dist/new"), Path("dist/old")], load_target("host"))
    report.ratio, report.ratio_interval, report.comparison        # 0.91, (0.89, 0.92), "faster"

Two packages run in the same processes and take turns, so that whatever disturbs the device disturbs both; what is said of
them is said of their ratio.
"""

import contextlib
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edgeprune.base.errors import EdgepruneError, TargetError, UsageError
from edgeprune.base.events import Emit, Event, Progress, StageFinished, StageStarted, ignore
from edgeprune.base.strict_yaml import Frozen
from edgeprune.benchmark.measure import Load, Measured, measure
from edgeprune.benchmark.package_workload import contents_of, package_load
from edgeprune.benchmark.statistics import DeviceRow, LatencyRow, process_ratio
from edgeprune.benchmark.turns import BLOCK
from edgeprune.benchmark.verdicts import BudgetRow, by_interval, exit_code, judge, overall, undecided
from edgeprune.devices import Runner
from edgeprune.devices.reaching import runner_of, why_unreachable
from edgeprune.pipeline.verify import check_digests, description, opened
from edgeprune.profiles.pipeline import BenchmarkConfig, Target
from edgeprune.profiles.runners import AdbConfig, SshConfig
from edgeprune.store.store import total_bytes

__all__ = ["BenchmarkReport", "Comparison", "benchmark", "compare", "fleet"]

Comparison = Literal["faster", "slower", "can't tell"]


class BenchmarkReport(Frozen):
    """The document of `benchmark --json`."""

    schema_version: Literal[1] = 1
    target: str
    device: DeviceRow
    latency: list[LatencyRow]
    """A row a package, called by its path."""
    ratio: float | None
    """How many times as long as the second package the first takes; None: there was one."""
    ratio_interval: tuple[float, float] | None
    """Holds with 95%, looked at up to three times; None: too few processes."""
    comparison: Comparison | None
    """What the first is, by the whole interval."""
    budget: list[BudgetRow]
    verdict: Literal["pass", "fail", "inconclusive"]
    exit_code: int


def compare(ratio_interval: tuple[float, float] | None) -> Comparison:
    """What the first of two is, by the interval of their ratio."""
    if ratio_interval is None or ratio_interval[0] <= 1 <= ratio_interval[1]:
        return "can't tell"
    return "faster" if ratio_interval[1] < 1 else "slower"


def fleet(
    packages: Sequence[Path],
    targets: Sequence[Target],
    *,
    config: BenchmarkConfig,
    inputs: Sequence[str] | None = None,
    max_regression: float | None = None,
    samples: Path | None = None,
    emit: Emit = ignore,
) -> list[BenchmarkReport | EdgepruneError]:
    """`benchmark` on several targets, at once where they are different devices; in the targets' order.

    A target that fails leaves its error in its place.

    Raises:
        TargetError: A target can't be timed from here at all.
    """
    reasons = [f"{one.name} can't be timed from here: {why}" for one in targets if (why := why_unreachable(one))]
    if reasons:
        raise TargetError("; ".join(reasons))
    together, devices = _Together(emit, len(targets)), defaultdict(list)
    for number, target in enumerate(targets):
        devices[target.runner.place if isinstance(target.runner, SshConfig | AdbConfig) else "here"].append(number)

    def one(number: int) -> BenchmarkReport | EdgepruneError:
        target = targets[number]
        try:
            with contextlib.closing(runner_of(target)) as runner:
                return benchmark(
                    packages,
                    target,
                    runner,
                    config=config,
                    inputs=inputs,
                    max_regression=max_regression,
                    samples=samples,
                    emit=together.of(number),
                )
        except EdgepruneError as error:
            return error
        finally:
            together.ended(number)

    def device(numbers: list[int]) -> dict[int, BenchmarkReport | EdgepruneError]:
        return {number: one(number) for number in numbers}

    emit(StageStarted("benchmark", 0, ""))
    began = time.perf_counter()
    with ThreadPoolExecutor(len(devices)) as pool:
        found = {number: report for part in pool.map(device, devices.values()) for number, report in part.items()}
    emit(StageFinished("benchmark", 0, "", False, time.perf_counter() - began))
    return [found[number] for number in range(len(targets))]


class _Together:
    """The progress of several targets as one stage's: those that haven't begun are taken for as long as the others.

    Args:
        emit: Is handed the events.
        count: How many targets.
    """

    def __init__(self, emit: Emit, count: int) -> None:
        self._emit = emit
        self._count = count
        self._lock = threading.Lock()
        self._parts: dict[int, Progress] = {}
        """The last of each target."""

    def of(self, number: int) -> Emit:
        """What takes one target's events."""

        def tell(event: Event) -> None:
            with self._lock:
                if isinstance(event, Progress):
                    self._parts[number] = event
                    self._tell(event)
                elif not isinstance(event, StageStarted | StageFinished):
                    self._emit(event)

        return tell

    def ended(self, number: int) -> None:
        """Nothing more will come of a target."""
        with self._lock:
            if (last := self._parts.get(number)) is not None and last.done < last.total:
                self._parts[number] = replace(last, total=last.done)
                self._tell(last)
            elif last is None:
                self._count -= 1

    def _tell(self, event: Progress) -> None:
        totals = [one.total for one in self._parts.values()]
        total = sum(totals) + round(sum(totals) / len(totals)) * (self._count - len(totals))
        self._emit(replace(event, done=sum(one.done for one in self._parts.values()), total=total))


def benchmark(
    packages: Sequence[Path],
    target: Target,
    runner: Runner,
    *,
    config: BenchmarkConfig,
    inputs: Sequence[str] | None = None,
    max_regression: float | None = None,
    samples: Path | None = None,
    emit: Emit = ignore,
) -> BenchmarkReport:
    """Time one package, or two by turns.

    Args:
        packages: Folders or .tar.gz.
        target: Its latency budgets judge one package.
        runner: How the target is reached.
        config: How many processes, runs and warm-up runs.
        inputs: Texts, or paths of images; None: the first package's goldens.
        max_regression: Of two: the share by which the first may be slower; a ratio above is a missed budget.
        samples: The file that every sample is written to; None: none is kept.
        emit: Is handed every event.

    Raises:
        UsageError: No packages, or of different tasks.
        IntegrityError: A package is not as it was made.
        TargetError: The target can't be reached.
    """
    with contextlib.ExitStack() as stack:
        folders = {str(path): stack.enter_context(opened(path)) for path in packages}
        if len(folders) < len(packages):
            raise UsageError(f"{packages[0]} is given twice; to compare a package with itself copy it")
        for shown, folder in folders.items():
            check_digests(folder, shown)
        described = {shown: description(folder) for shown, folder in folders.items()}
        first, *others = described
        for other in others:
            if described[other]["task"] != described[first]["task"]:
                raise UsageError(
                    f"{first} is for {described[first]['task']}, {other} for {described[other]['task']}; compare packages of "
                    f"one task"
                )
        contents = contents_of(folders[first], described[first], inputs)
        loads = {
            shown: package_load(folder, described[shown], contents, config.samples, target)
            for shown, folder in folders.items()
        }
        sizes_mb = {shown: total_bytes([folder]) / 1e6 for shown, folder in folders.items()}
        limit = None if max_regression is None else 1 + max_regression

        emit(StageStarted("benchmark", 0, ""))
        began = time.perf_counter()
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = measure(
            runner,
            loads,
            config,
            provider=target.runtime.provider,
            parallel=target.workload.sessions,
            samples=samples or scratch / "samples.jsonl",
            undecided=lambda found: undecided(_judge(target, found, loads, sizes_mb, limit)),
            progress=lambda done, total, unit: emit(Progress("benchmark", 0, done, total, unit)),
        )
        emit(StageFinished("benchmark", 0, "", False, time.perf_counter() - began))
    ratio, interval = _ratio(found, list(loads))
    budget = _judge(target, found, loads, sizes_mb, limit)
    return BenchmarkReport(
        target=target.name,
        device=found.device_row,
        latency=[_row(target, found, name, load) for name, load in loads.items()],
        ratio=ratio,
        ratio_interval=interval,
        comparison=None if ratio is None else compare(interval),
        budget=budget,
        verdict=overall(budget),
        exit_code=exit_code(budget),
    )


def _judge(
    target: Target, found: Measured, loads: Mapping[str, Load], sizes_mb: Mapping[str, float], limit: float | None
) -> list[BudgetRow]:
    """One package by the target's budgets, of two the first by how much slower it may be."""
    first, *others = loads
    if others:
        if limit is None:
            return []
        ratio, interval = _ratio(found, list(loads))
        verdict = by_interval(limit, interval)
        return [BudgetRow(name="regression", limit=limit, value=ratio, interval=interval, verdict=verdict)]
    latency = _row(target, found, first, loads[first])
    return judge(target.budget, size_mb=sizes_mb[first], metric=None, latency=latency)


def _ratio(found: Measured, names: list[str]) -> tuple[float | None, tuple[float, float] | None]:
    if len(names) == 1:
        return None, None
    first, second = names
    return process_ratio(found.samples_ms[first], found.samples_ms[second], block=BLOCK)


def _row(target: Target, found: Measured, name: str, load: Load) -> LatencyRow:
    lengths = target.workload.lengths
    return found.row(
        name,
        provider=target.runtime.provider,
        threads=load.session.threads,
        workload=target.workload,
        lengths="inputs" if lengths == "data" else str(lengths),
    )
