"""Time packages on several targets at once. Targets on the same device take turns."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from edgeprune.base.errors import EdgepruneError, TargetError
from edgeprune.base.events import Emit, Progress, StageFinished, StageStarted, ignore
from edgeprune.benchmark.compare import BenchmarkReport, benchmark
from edgeprune.devices.runner import runner_of, why_unreachable
from edgeprune.profiles.pipeline import BenchmarkConfig
from edgeprune.profiles.runners import AdbConfig, SshConfig
from edgeprune.profiles.target import Target
from edgeprune.store.package import require_package

__all__ = ["fleet"]


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
    """Run `benchmark` on several targets. Different devices are timed at once.

    Args:
        packages: One or two packages: folders or .tar.gz files.
        targets: Profiles of the targets.
        config: How many processes, runs and warm-up runs are made.
        inputs: Texts, or paths of images; None: the first package's goldens.
        max_regression: For two packages: the share by which the first may be slower; None: there is no limit.
        samples: The file that every sample is written to; None: samples are not kept.
        emit: A function that is handed every event.

    Returns:
        One report for each target, in the order of the targets. If a target failed, its error is in the report's place.

    Raises:
        UsageError: A path is no package.
        TargetError: A target can't be timed from here at all.
    """
    for path in packages:
        require_package(path)
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
                    progress=together.of(number),
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
    """Show the progress of several targets as the progress of one stage.

    A target that hasn't begun yet is counted with the mean length of the others.

    Args:
        emit: A function that is handed the events.
        count: How many targets there are.
    """

    def __init__(self, emit: Emit, count: int) -> None:
        self._emit = emit
        self._count = count
        self._lock = threading.Lock()
        self._parts: dict[int, Progress] = {}
        """The last progress of each target, by the target's number."""

    def of(self, number: int) -> Callable[[int, int, str], None]:
        """Give a function that takes the progress of one target."""

        def tell(done: int, total: int, unit: str) -> None:
            with self._lock:
                self._parts[number] = Progress("benchmark", 0, done, total, unit)
                self._tell(self._parts[number])

        return tell

    def ended(self, number: int) -> None:
        """Note that a target has ended, so that its progress counts as complete."""
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
