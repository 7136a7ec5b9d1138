"""Say in a sentence what is wrong with a budget that was not met."""

from collections.abc import Sequence

from edgeprune.benchmark.statistics import FEWEST_PROCESSES
from edgeprune.benchmark.verdicts import BudgetRow
from edgeprune.report.words import budget_words

__all__ = ["misses"]


def misses(rows: Sequence[BudgetRow], target: str) -> list[str]:
    """Write a sentence for every budget that was not met."""
    sentences = []
    for row in rows:
        value, limit = budget_words(row.name, row.value), budget_words(row.name, row.limit, 6)
        if row.verdict == "fail":
            sentences.append(f"{row.name} is {value}, but the budget of {target} is {limit}")
        elif row.verdict == "not_measured":
            sentences.append(f"{row.name} was not measured; the budget of {target} is {limit}")
        elif row.verdict == "inconclusive" and row.interval is None:
            sentences.append(
                f"{row.name} could not be judged: an interval needs at least {FEWEST_PROCESSES} processes and enough "
                f"samples; take more of both"
            )
        elif row.verdict == "inconclusive":
            low, high = row.interval or (0.0, 0.0)
            sentences.append(
                f"{row.name} is between {low:.4g} and {budget_words(row.name, high)}, which is too close to the budget of "
                f"{target}, {limit}; measure on a quieter machine or with more processes"
            )
    return sentences
