"""Say in a sentence what is wrong with a budget that was not met."""

from collections.abc import Sequence

from edgeprune.benchmark.statistics import FEWEST_PROCESSES
from edgeprune.benchmark.verdicts import BudgetRow
from edgeprune.report.records import BuildReport

__all__ = ["budget_misses", "misses"]


def misses(report: BuildReport) -> list[str]:
    """Write a sentence for every budget that a build did not meet."""
    return budget_misses(report.budget, report.target)


def budget_misses(rows: Sequence[BudgetRow], target: str) -> list[str]:
    """Write a sentence for every budget that was not met."""
    sentences = []
    for row in rows:
        if row.verdict == "fail":
            sentences.append(f"{row.name} is {row.value:.4g}, but the budget of {target} is {row.limit:g}")
        elif row.verdict == "not_measured":
            sentences.append(f"{row.name} was not measured; the budget of {target} is {row.limit:g}")
        elif row.verdict == "inconclusive" and row.interval is None:
            sentences.append(
                f"{row.name} could not be judged: an interval needs at least {FEWEST_PROCESSES} processes and enough "
                f"samples; take more of both"
            )
        elif row.verdict == "inconclusive":
            low, high = row.interval or (0.0, 0.0)
            sentences.append(
                f"{row.name} is between {low:.4g} and {high:.4g}, which is too close to the budget of {target}, "
                f"{row.limit:g}; measure on a quieter machine or with more processes"
            )
    return sentences
