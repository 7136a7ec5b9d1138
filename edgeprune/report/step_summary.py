"""Write a build as Markdown for the summary of a CI run: the headline, the budgets, the figures, the change since a baseline.

## reviews 1.4.0 for cpu-x86-avx2: ✗ fail

4 times as fast (8 → 2 ms), 8 times as small (90 → 11.2 MB), accuracy -1.5 points [-2.5, -0.5], on Some CPU

| budget | limit | value | 95% interval | verdict |
| --- | --- | --- | --- | --- |
| latency_p90_ms | 25 | 26 | [25.2, 27.3] | ✗ fail |
"""

from collections.abc import Iterator, Sequence

from edgeprune.base.markdown import literal
from edgeprune.benchmark.compare import compare
from edgeprune.benchmark.records import LatencyRow
from edgeprune.report.device_words import device_words
from edgeprune.report.headline import headline, shipped_metric
from edgeprune.report.misses import misses
from edgeprune.report.records import BuildReport
from edgeprune.report.words import amount, megabytes, metric_title, span, value_words, verdict_words

__all__ = ["step_summary", "step_summary_of_error"]

_TIMES = (
    ("mean ms", "mean_ms", "mean_interval_ms"),
    ("p50 ms", "p50_ms", "p50_interval_ms"),
    ("p90 ms", "p90_ms", "p90_interval_ms"),
)


def step_summary(report: BuildReport, baseline: BuildReport | None = None) -> str:
    """Write the summary of a build.

    Args:
        report: The build.
        baseline: The build that made the baseline; None: there is no baseline, or its report isn't at hand.
    """
    blocks = [
        f"## {literal(f'{report.name} {report.release} for {report.target}')}: {verdict_words(report.verdict)}",
        literal(headline(report)),
        "\n".join(f"- {literal(sentence)}" for sentence in misses(report)),
        _table(["budget", "limit", "value", "95% interval", "verdict"], _budget_rows(report)),
        _figures(report, baseline),
        _change(report),
        literal(device_words(report)),
        "\n".join(f"- {literal(note)}" for note in report.notes),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def step_summary_of_error(sentence: str) -> str:
    """Write why a build ended without a report."""
    return f"## edgeprune: ✗ no package\n\n{literal(sentence)}\n"


def _budget_rows(report: BuildReport) -> list[list[str]]:
    return [
        [
            literal(row.name),
            f"{row.limit:g}",
            "–" if row.value is None else f"{row.value:.4g}",
            span(row.interval),
            verdict_words(row.verdict),
        ]
        for row in report.budget
    ]


def _figures(report: BuildReport, baseline: BuildReport | None) -> str:
    """Compare the package with the dense model and with the baseline. Times of the baseline's own build are of another day."""
    columns = ["", "dense model", "package", *([] if baseline is None else [f"baseline ({literal(baseline.release)})"])]
    rows = list(_figure_rows(report))
    if baseline is not None:
        there = {name: package for name, _, package in _figure_rows(baseline)}
        timed = {name for name, _, _ in _TIMES}
        rows = [[*row, "–" if row[0] in timed else there.get(row[0], "–")] for row in rows]
    return _table(columns, rows)


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


def _change(report: BuildReport) -> str:
    """Say how the package's time compares with the baseline's, as the two were timed by turns; empty if they weren't."""
    row = next((row for row in report.budget if row.name == "regression"), None)
    if row is None or row.value is None:
        return ""
    found = compare(row.interval)
    words = "it can’t be told which is faster" if found == "can't tell" else f"the package is {found}"
    took = f"{amount(row.value)} times as long {span(row.interval)}".rstrip()
    return f"Against the baseline, timed by turns: {words}. The package takes {took}."


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown; empty if it has no rows."""
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
