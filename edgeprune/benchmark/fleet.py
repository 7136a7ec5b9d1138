"""Time packages on several targets at once; targets on one device take turns."""

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

    def of(self, number: int) -> Callable[[int, int, str], None]:
        """Give what takes one target's progress."""

        def tell(done: int, total: int, unit: str) -> None:
            with self._lock:
                self._parts[number] = Progress("benchmark", 0, done, total, unit)
                self._tell(self._parts[number])

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
