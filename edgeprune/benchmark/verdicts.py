"""Judge measurements by budgets, and turn verdicts into an exit code, with pure functions.

A latency fails only if its whole interval lies above the budget, and passes only if its whole interval lies within the
budget.
"""

from collections.abc import Sequence
from typing import Literal

from edgeprune.base.errors import first_exit_code
from edgeprune.base.strict_yaml import Frozen
from edgeprune.benchmark.records import LatencyRow
from edgeprune.profiles.target import Budget
from edgeprune.store.records import Metric, recall_of

__all__ = ["BudgetRow", "Verdict", "by_interval", "exit_code", "judge", "overall", "undecided"]

_FLOOR = "min_recall."
"""The beginning of a recall's row name. The limit of a recall is the smallest value that is allowed."""

Verdict = Literal["pass", "fail", "inconclusive", "not_measured"]


class BudgetRow(Frozen):
    """Hold one limit, the value that was measured against it, and the verdict."""

    name: str
    limit: float
    value: float | None
    interval: tuple[float, float] | None
    verdict: Verdict


def judge(budget: Budget, *, size_mb: float, metric: Metric | None, latency: LatencyRow | None) -> list[BudgetRow]:
    """Make a row for every limit that a profile sets.

    Args:
        budget: The profile's limits.
        size_mb: Size of the package's files, unpacked, in 10^6 bytes.
        metric: The shipped model's metric with its drop; None: the metric isn't judged.
        latency: The shipped model's row; None: the target was not measured.
    """
    missing: Verdict = "not_measured" if latency is None else "inconclusive"
    p50 = (None, None) if latency is None else (latency.p50_ms, latency.p50_interval_ms)
    p90 = (None, None) if latency is None else (latency.p90_ms, latency.p90_interval_ms)
    text_p90 = (None, None) if latency is None else (latency.text_p90_ms, latency.text_p90_interval_ms)
    peak_memory_mb = None if latency is None else latency.peak_memory_mb
    download_mb = None if latency is None else latency.download_mb
    measured: list[tuple[str, float | None, float | None, tuple[float, float] | None]] = [
        ("size_mb", budget.size_mb, size_mb, None),
        *([("metric_drop", budget.metric_drop, metric.drop, metric.drop_interval)] if metric else []),
        ("latency_p50_ms", budget.latency_p50_ms, *p50),
        ("latency_p90_ms", budget.latency_p90_ms, *p90),
        ("latency_text_p90_ms", budget.latency_text_p90_ms, *text_p90),
        ("cold_start_ms", budget.cold_start_ms, None if latency is None else latency.cold_start_ms, None),
        ("peak_memory_mb", budget.peak_memory_mb, peak_memory_mb, None),
        ("download_mb", budget.download_mb, download_mb, None),
    ]
    rows = [
        BudgetRow(
            name=name,
            limit=limit,
            value=value,
            interval=interval,
            verdict=missing if value is None else _verdict(name, limit, value, interval),
        )
        for name, limit, value, interval in measured
        if limit is not None
    ]
    return [*rows, *(_floor(label, least, metric) for label, least in budget.min_recall.items() if metric)]


def _floor(label: str, least: float, metric: Metric) -> BudgetRow:
    value = metric.others[recall_of(label)]
    verdict: Verdict = "pass" if value >= least else "fail"
    return BudgetRow(name=f"{_FLOOR}{label}", limit=least, value=value, interval=None, verdict=verdict)


def by_interval(limit: float, interval: tuple[float, float] | None) -> Verdict:
    """Judge a value that lies somewhere in an interval by a limit. Without an interval the verdict is inconclusive."""
    if interval is None or interval[0] <= limit < interval[1]:
        return "inconclusive"
    return "pass" if interval[1] <= limit else "fail"


def _verdict(name: str, limit: float, value: float, interval: tuple[float, float] | None) -> Verdict:
    """Judge a latency by its whole interval, and every other figure by its value.

    The metric is judged by its value too. Its interval says how sure the drop is on similar rows, but the gate is about
    the drop on the test rows themselves.
    """
    if name.startswith("latency_"):
        return by_interval(limit, interval)
    return "pass" if value <= limit else "fail"


def undecided(rows: Sequence[BudgetRow]) -> bool:
    """Tell whether a latency is inconclusive that more processes could decide."""
    return any(row.verdict == "inconclusive" and row.interval is not None for row in rows)


def overall(rows: Sequence[BudgetRow]) -> Literal["pass", "fail", "inconclusive"]:
    """Combine the verdicts of all rows into one."""
    verdicts = {row.verdict for row in rows}
    if "fail" in verdicts:
        return "fail"
    return "inconclusive" if verdicts & {"inconclusive", "not_measured"} else "pass"


def exit_code(rows: Sequence[BudgetRow]) -> int:
    """Give the exit code: 0 if every budget is met, else the code of the worst miss."""
    codes = set()
    for row in rows:
        if row.verdict == "fail":
            codes.add(4 if row.name.startswith(("metric_drop", _FLOOR)) else 3)
        elif row.verdict != "pass":
            codes.add(7)
    return first_exit_code(codes)
