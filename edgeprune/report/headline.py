"""Say in a sentence what a build gained and what that cost, and how its package is tried.

6.7 times as fast (8.3 → 1.24 ms), 5 times as small (90.9 → 18.2 MB), accuracy -0.3 points [-1.5, +0.9], on AMD EPYC

The time is the median of a run: the dense fp32 model's against the package's. A first stage moves the mean and not the slowest
runs, so with one the mean and p90 are said too. The size is the dense checkpoint's weights in fp32 against all files of
the package. The metric's change is on the test rows, with its paired 95% interval.
"""

import math
import shlex
from collections.abc import Sequence

from edgeprune.base.metric_words import change_words
from edgeprune.benchmark.records import LatencyRow
from edgeprune.report.records import BuildReport
from edgeprune.report.words import amount, change_interval, metric_title, times
from edgeprune.store.records import Metric

__all__ = ["build_labels", "final_latency", "headline", "headline_parts", "shipped_metric", "try_commands"]

_SAME = 0.02
"""The share by which two figures may differ and still be called the same."""


def headline(report: BuildReport) -> str:
    """Say how much faster and smaller the package is than the dense model, how its metric changed, and on which device.

    What was not measured is left out.
    """
    return ", ".join(headline_parts(report))


def headline_parts(report: BuildReport) -> list[str]:
    """Give the parts of the headline, which are joined by commas."""
    speed = _speed(report)
    place = f"for {report.target} (no time was measured)" if speed is None else f"on {_device_name(report)}"
    return [part for part in (speed, _size(report), _metric(report), place) if part]


def shipped_metric(report: BuildReport) -> Metric | None:
    """Find the package's metric on the test rows."""
    return next((row.metric for row in report.stages if row.stage == "package"), None)


def final_latency(report: BuildReport) -> LatencyRow | None:
    """Find the package's times. None: it was not measured."""
    return next((row for row in report.latency if row.artifact == "final"), None)


def _device_name(report: BuildReport) -> str:
    """Name the device that was measured: its CPU, or else the target."""
    return (report.device.cpu if report.device else None) or report.target


def build_labels(reports: Sequence[BuildReport]) -> list[str]:
    """Name builds so that they can be told apart: by their targets, or else by everything that packages are named by.

    Where that isn't enough either, a number comes first, so that a plot that cuts long names doesn't lose it.
    """
    targets = [report.target for report in reports]
    if len(set(targets)) == len(targets):
        return targets
    names = [f"{report.name} {report.release}, {report.target}" for report in reports]
    return [name if names.count(name) == 1 else f"({place}) {name}" for place, name in enumerate(names, start=1)]


def try_commands(report: BuildReport) -> tuple[str, ...]:
    """Write the commands that try a package: one that answers, and one that checks it."""
    folder = shlex.quote(report.package.path)
    given = shlex.join(report.package.try_with)
    return (f"python {folder}/run.py {given}".rstrip(), f"edgeprune verify {folder}")


def _speed(report: BuildReport) -> str | None:
    rows = {row.artifact: row for row in report.latency}
    if not {"dense-fp32", "final"} <= rows.keys():
        return None
    dense, final = rows["dense-fp32"], rows["final"]
    median = _faster(dense.p50_ms, final.p50_ms)
    if median is None or report.cascade is None or not report.cascade.test.answered:
        return median
    others = {"on the mean": (dense.mean_ms, final.mean_ms), "at p90": (dense.p90_ms, final.p90_ms)}
    said = [f"{words} {where}" for where, pair in others.items() if (words := _faster(*pair))]
    if not _is_half(report.cascade.test.answered, final):
        said.append(f"{median} at the median")
    return ", ".join(said)


def _is_half(share: float, row: LatencyRow) -> bool:
    """Tell whether it is by chance that a median is among the texts that are answered early.

    It is within two standard deviations of the share of early texts among those that were drawn.
    """
    texts = row.samples / (row.processes or 1)
    return abs(share - 0.5) <= 1 / math.sqrt(texts)


def _faster(dense_ms: float | None, final_ms: float | None) -> str | None:
    """Say how many times as fast the package is; None: one of the times wasn't measured."""
    if not dense_ms or not final_ms:
        return None
    words = _change(
        dense_ms, final_ms, same="as fast as before", less="{} times as fast", more="slower: it takes {} times as long"
    )
    return f"{words} ({amount(dense_ms)} → {amount(final_ms)} ms)"


def _size(report: BuildReport) -> str | None:
    dense = next((row.size_bytes for row in report.stages if row.stage == "prepare"), None)
    final = report.package.size_bytes
    if not dense or not final:
        return None
    words = _change(dense, final, same="as large as before", less="{} times as small", more="{} times as large")
    return f"{words} ({amount(dense / 1e6)} → {amount(final / 1e6)} MB)"


def _change(dense: float, final: float, *, same: str, less: str, more: str) -> str:
    """Choose the words for a change, and say in them how many times more or less it is."""
    if abs(dense / final - 1) <= _SAME:
        return same
    return less.format(times(dense / final)) if final < dense else more.format(times(final / dense))


def _metric(report: BuildReport) -> str | None:
    metric = shipped_metric(report)
    if metric is None or metric.drop is None:
        return None
    words = f"{metric_title(metric.name)} {change_words(metric.name, -metric.drop)}"
    return f"{words} {change_interval(metric.name, metric.drop_interval)}".rstrip()
