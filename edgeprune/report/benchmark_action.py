"""Write builds' figures as github-action-benchmark reads them: a list for its tool `customSmallerIsBetter`.

[{"name": "reviews for cpu-x86-avx2: latency p90", "unit": "ms", "value": 26.1, "range": "[25.2, 27.3]", "extra": "…"}]

The action draws one line for each name over the commits, and warns where a value rises. Names have no release, so that a line
goes on. A metric is higher the better, so that its distance from 1 is written.
https://github.com/benchmark-action/github-action-benchmark#examples
"""

import json
from collections.abc import Iterator, Sequence
from typing import TypedDict

from edgeprune.base.metric_words import is_share
from edgeprune.report.headline import final_latency, headline, shipped_metric
from edgeprune.report.records import BuildReport
from edgeprune.report.words import metric_title, span

__all__ = ["benchmark_action"]

_LATENCIES = (
    ("latency mean", "mean_ms", "mean_interval_ms"),
    ("latency p50", "p50_ms", "p50_interval_ms"),
    ("latency p90", "p90_ms", "p90_interval_ms"),
    ("latency p99", "p99_ms", "p99_interval_ms"),
    ("latency p90 from input to answer", "text_p90_ms", "text_p90_interval_ms"),
    ("cold start", "cold_start_ms", None),
)
_MEGABYTES = (("peak memory", "peak_memory_mb"), ("download", "download_mb"))


class _Figure(TypedDict, total=False):
    """Hold a figure in the action's words."""

    name: str
    unit: str
    value: float
    range: str
    """How sure the value is; the action shows it beside the value."""
    extra: str
    """What the action shows when a reader points at the value."""


def benchmark_action(reports: Sequence[BuildReport]) -> str:
    """Write every figure of builds that should be small. What was not measured is left out."""
    return json.dumps([one for report in reports for one in _figures(report)], indent=2, ensure_ascii=False) + "\n"


def _figures(report: BuildReport) -> Iterator[_Figure]:
    for what, unit, value, interval in _values(report):
        figure = _Figure(name=f"{report.name} for {report.target}: {what}", unit=unit, value=round(value, 6))
        if interval is not None:
            figure["range"] = span(interval)
        yield figure | _Figure(extra=f"{report.name} {report.release}: {headline(report)}")


def _values(report: BuildReport) -> Iterator[tuple[str, str, float, tuple[float, float] | None]]:
    """Give the name of each figure, its unit, its value, and its interval if there is one."""
    yield "package size", "MB", report.package.size_bytes / 1e6, None
    metric = shipped_metric(report)
    if metric is not None:
        scale, unit = (100, "points") if is_share(metric.name) else (1, "of 1")
        yield f"distance of {metric_title(metric.name)} from 1", unit, scale * (1 - metric.value), None
    row = final_latency(report)
    if row is None:
        return
    for what, field, interval in _LATENCIES:
        if (value := getattr(row, field)) is not None:
            yield what, "ms", value, getattr(row, interval) if interval else None
    for what, field in _MEGABYTES:
        if (value := getattr(row, field)) is not None:
            yield what, "MB", value, None
