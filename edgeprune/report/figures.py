"""Write the figures of a build as a table in Markdown: the dense model's times, size and metric beside the package's."""

from collections.abc import Iterator, Sequence

from edgeprune.base.markdown import literal
from edgeprune.benchmark.records import LatencyRow
from edgeprune.report.headline import shipped_metric
from edgeprune.report.records import BuildReport
from edgeprune.report.words import amount, megabytes, metric_title, span, value_words

__all__ = ["figures_table", "markdown_table"]

_TIMES = (
    ("mean ms", "mean_ms", "mean_interval_ms"),
    ("p50 ms", "p50_ms", "p50_interval_ms"),
    ("p90 ms", "p90_ms", "p90_interval_ms"),
)


def figures_table(report: BuildReport, baseline: BuildReport | None = None) -> str:
    """Compare the package with the dense model and, if there is one, with a baseline.

    Times of the baseline's own build are of another day, so that they are left out.
    """
    columns = ["", "dense model", "package", *([] if baseline is None else [f"baseline ({literal(baseline.release)})"])]
    rows = list(_figure_rows(report))
    if baseline is not None:
        there = {name: package for name, _, package in _figure_rows(baseline)}
        timed = {name for name, _, _ in _TIMES}
        rows = [[*row, "–" if row[0] in timed else there.get(row[0], "–")] for row in rows]
    return markdown_table(columns, rows)


def _figure_rows(report: BuildReport) -> Iterator[list[str]]:
    latency = {row.artifact: row for row in report.latency}
    for name, field, interval in _TIMES:
        cells = [_time(latency.get(artifact), field, interval) for artifact in ("dense-fp32", "final")]
        if any(cells):
            yield [name, *(cell or "–" for cell in cells)]
    prepared = next((row for row in report.stages if row.stage == "prepare"), None)
    dense_bytes = None if prepared is None else prepared.size_bytes
    yield ["size", "–" if dense_bytes is None else megabytes(dense_bytes), megabytes(report.package.size_bytes)]
    metric, dense = shipped_metric(report), None if prepared is None else prepared.metric
    if metric is not None:
        before = "–" if dense is None else value_words(metric.name, dense.value)
        yield [literal(metric_title(metric.name)), before, value_words(metric.name, metric.value)]


def _time(row: LatencyRow | None, field: str, interval: str) -> str:
    value = None if row is None else getattr(row, field)
    return "" if value is None else f"{amount(value)} {span(getattr(row, interval))}".rstrip()


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown; empty if it has no rows."""
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
