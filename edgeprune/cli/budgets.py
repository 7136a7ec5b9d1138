"""Show budgets to people: limits with their units, and verdicts in colour."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from edgeprune.benchmark.verdicts import BudgetRow
from edgeprune.cli.console import print_table
from edgeprune.profiles.target import Budget
from edgeprune.report.words import budget_words

__all__ = ["limits_words", "print_budgets", "verdict_words"]

_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "not_measured": "yellow"}


def print_budgets(console: Console, rows: Sequence[BudgetRow]) -> None:
    """Print a row for each budget: its limit, what was measured, and the verdict."""
    cells: list[list[str | Text]] = [
        [row.name, budget_words(row.name, row.limit, 6), budget_words(row.name, row.value), verdict_words(row.verdict)]
        for row in rows
    ]
    print_table(console, None, ["budget", "limit", "value", "verdict"], cells)


def verdict_words(verdict: str) -> Text:
    """Give a verdict in the colour that it has on a terminal."""
    return Text(verdict, style=_STYLES[verdict])


def limits_words(budget: Budget) -> str:
    """Write the limits that a profile sets, with commas between them; empty if it sets none."""
    limits = budget.model_dump(exclude_none=True, exclude={"min_recall"})
    limits |= {f"min_recall.{label}": least for label, least in budget.min_recall.items()}
    return ", ".join(
        f"{name.removesuffix('_ms').removesuffix('_mb')} {budget_words(name, limit, 6)}"
        for name, limit in limits.items()
    )
