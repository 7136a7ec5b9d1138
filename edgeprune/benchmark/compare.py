"""Time packages on a target: one against the target's latency budgets, or two by turns against each other.

    report = benchmark([Path("dist/new"), Path("dist/old")], load_target("host"))
    report.ratio, report.ratio_interval, report.comparison        # 0.91, (0.89, 0.92), "faster"

Two packages run in the same processes and take turns, so that whatever disturbs the device disturbs both. The verdict
is about the ratio of their times.
"""

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from edgeprune.base.errors import UsageError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.benchmark.measure import Load, Measured, measure
from edgeprune.benchmark.package_workload import contents_of, package_load
from edgeprune.benchmark.records import DeviceRow, LatencyRow
from edgeprune.benchmark.statistics import process_ratio
from edgeprune.benchmark.verdicts import BudgetRow, by_interval, exit_code, judge, overall, undecided
from edgeprune.devices import Runner
from edgeprune.profiles.pipeline import BLOCK, BenchmarkConfig
from edgeprune.profiles.target import Target
from edgeprune.store.files import total_bytes
from edgeprune.store.package import check_digests, description, opened

__all__ = ["BenchmarkReport", "Comparison", "benchmark", "compare"]

Comparison = Literal["faster", "slower", "can't tell"]


class BenchmarkReport(Frozen):
    """Report a benchmark, as the document that `benchmark --json` prints."""

    schema_version: Literal[1] = 1
    target: str
    device: DeviceRow
    latency: list[LatencyRow]
    """One row for each package. The package's path is its name."""
    ratio: float | None
    """The first package's time divided by the second package's time; None: there was only one package."""
    ratio_interval: tuple[float, float] | None
    """The interval of `ratio`. It holds with 95%, even if it is looked at three times; None: too few processes."""
    comparison: Comparison | None
    """How the first package compares with the second, by the whole interval; None: there was only one package."""
    budget: list[BudgetRow]
    verdict: Literal["pass", "fail", "inconclusive"]
    exit_code: int


def compare(ratio_interval: tuple[float, float] | None) -> Comparison:
    """Say how the first of two packages compares with the second, by the interval of their ratio."""
    if ratio_interval is None or ratio_interval[0] <= 1 <= ratio_interval[1]:
        return "can't tell"
    return "faster" if ratio_interval[1] < 1 else "slower"


def benchmark(
    packages: Sequence[Path],
    target: Target,
    runner: Runner,
    *,
    config: BenchmarkConfig,
    inputs: Sequence[str] | None = None,
    max_regression: float | None = None,
    samples: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _unit: None,
) -> BenchmarkReport:
    """Time one package, or two packages by turns.

    Args:
        packages: One or two packages: folders or .tar.gz files.
        target: The target's profile. Its latency budgets judge a single package.
        runner: How the target is reached.
        config: How many processes, runs and warm-up runs are made.
        inputs: Texts, or paths of images; None: the first package's goldens.
        max_regression: For two packages: the share by which the first may be slower. A larger ratio is a missed budget.
            None: there is no limit.
        samples: The file that every sample is written to; None: samples are not kept.
        progress: A function that is called with (done, total, unit).

    Raises:
        UsageError: A path is no package, or the packages are for different tasks.
        IntegrityError: A package's files are not what they were when it was made.
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
                    f"{first} is for {described[first]['task']}, but {other} is for {described[other]['task']}; "
                    f"compare packages of the same task"
                )
        contents = contents_of(folders[first], described[first], inputs)
        loads = {
            shown: package_load(folder, described[shown], contents, config.samples, target)
            for shown, folder in folders.items()
        }
        sizes_mb = {shown: total_bytes([folder]) / 1e6 for shown, folder in folders.items()}
        limit = None if max_regression is None else 1 + max_regression

        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = measure(
            runner,
            loads,
            config,
            provider=target.runtime.provider,
            parallel=target.workload.sessions,
            samples=samples or scratch / "samples.jsonl",
            undecided=lambda found: undecided(_judge(target, found, loads, sizes_mb, limit)),
            progress=progress,
        )
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
    """Judge one package by the target's budgets, or the first of two packages by how much slower it may be."""
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
    return process_ratio(found.turns.samples_ms[first], found.turns.samples_ms[second], block=BLOCK)


def _row(target: Target, found: Measured, name: str, load: Load) -> LatencyRow:
    lengths = target.workload.lengths
    return found.row(
        name,
        provider=target.runtime.provider,
        threads=load.session.threads,
        workload=target.workload,
        lengths="inputs" if lengths == "data" else str(lengths),
    )
