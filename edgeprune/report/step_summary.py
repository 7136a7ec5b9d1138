"""Write a build as Markdown for the summary of a CI run: the headline, the budgets, the figures, the change since a baseline.

## reviews 1.4.0 for cpu-x86-avx2: ✗ fail

4 times as fast (8 → 2 ms), 8 times as small (90 → 11.2 MB), accuracy -1.5 points [-2.5, -0.5], on Some CPU

| budget | limit | value | 95% interval | verdict |
| --- | --- | --- | --- | --- |
| latency_p90_ms | 25 ms | 26 ms | [25.2, 27.3] | ✗ fail |
"""

from edgeprune.base.markdown import literal
from edgeprune.benchmark.compare import compare
from edgeprune.report.device_words import device_words
from edgeprune.report.figures import figures_table, markdown_table
from edgeprune.report.headline import headline
from edgeprune.report.misses import misses
from edgeprune.report.records import BuildReport
from edgeprune.report.words import amount, budget_words, marked_verdict, span

__all__ = ["step_summary", "step_summary_of_error"]


def step_summary(report: BuildReport, baseline: BuildReport | None = None) -> str:
    """Write the summary of a build.

    Args:
        report: The build.
        baseline: The build that made the baseline; None: there is no baseline, or its report isn't at hand.
    """
    blocks = [
        f"## {literal(f'{report.name} {report.release} for {report.target}')}: {marked_verdict(report.verdict)}",
        literal(headline(report)),
        "\n".join(f"- {literal(sentence)}" for sentence in misses(report.budget, report.target)),
        markdown_table(["budget", "limit", "value", "95% interval", "verdict"], _budget_rows(report)),
        figures_table(report, baseline),
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
            budget_words(row.name, row.limit, 6),
            budget_words(row.name, row.value),
            span(row.interval),
            marked_verdict(row.verdict),
        ]
        for row in report.budget
    ]


def _change(report: BuildReport) -> str:
    """Say how the package's time compares with the baseline's, as the two were timed by turns; empty if they weren't."""
    row = next((row for row in report.budget if row.name == "regression"), None)
    if row is None or row.value is None:
        return ""
    found = compare(row.interval)
    words = "it can’t be told which is faster" if found == "can't tell" else f"the package is {found}"
    took = f"{amount(row.value)} times as long {span(row.interval)}".rstrip()
    return f"Against the baseline, timed by turns: {words}. The package takes {took}."
