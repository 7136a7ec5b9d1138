"""Tell whether a rung keeps what a search holds fixed: the metric's budget, or the budgets of latency, memory and size.

The metric is judged on the selection split, with a margin: an interval says how far the drop on similar rows may be
from the drop on these. Latencies are judged by their whole interval, as in the final benchmark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from edgeprune.base.metric_words import change_words
from edgeprune.benchmark.records import LatencyRow
from edgeprune.benchmark.verdicts import BudgetRow, judge
from edgeprune.profiles.search import Objective
from edgeprune.profiles.target import Budget
from edgeprune.store.records import Metric

__all__ = ["PREDICTED", "Held", "drop_bound", "held", "lacking_budget"]

PREDICTED = ("latency_p50_ms", "latency_p90_ms")
"""Budgets that a table of latencies predicts."""

_SEARCHED = (*PREDICTED, "cold_start_ms", "peak_memory_mb", "size_mb", "download_mb")
"""Budgets that the objective metric can hold: what a rung is measured for."""

_TWO_SIDED_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Held:
    """Say whether a rung keeps what is held fixed."""

    keeps: bool
    beyond: bool
    """Whether it lies beyond that by what was measured, apart from how sure this is."""
    why: str
    """Words that follow the rung's name and a colon."""
    used: float | None
    """The largest share of a budget that it uses; None: the metric's budget is held, or nothing was measured."""


def lacking_budget(objective: Objective, budget: Budget, *, is_measured: bool) -> str | None:
    """Say which budget a profile lacks that the objective needs; None: it lacks none.

    Args:
        objective: What is searched for.
        budget: The profile's budgets.
        is_measured: Whether the target can be measured from here.
    """
    if objective != "metric":
        return None if budget.metric_drop is not None else "budget.metric_drop, the most that the metric may lose"
    names = _SEARCHED if is_measured else ("size_mb",)
    if any(getattr(budget, name) is not None for name in names):
        return None
    where = (
        "" if is_measured else " (the target can't be measured from here, so that no other budget can be searched by)"
    )
    return f"a budget that a smaller model keeps: {', '.join(f'budget.{name}' for name in names)}{where}"


def drop_bound(metric: Metric, confidence: float) -> float:
    """Compute how far the metric drops at most, one-sided with a confidence, on rows like these.

    The bootstrap's interval is taken as a normal distribution's (Efron and Tibshirani, 1993, ch. 13).
    """
    assert metric.drop is not None and metric.drop_interval is not None  # noqa: S101, PT018 (rungs are compared)
    low, high = metric.drop_interval
    return metric.drop + NormalDist().inv_cdf(confidence) * (high - low) / (2 * _TWO_SIDED_95)


def held(
    objective: Objective,
    budget: Budget,
    *,
    confidence: float,
    metric: Metric,
    size_mb: float,
    latency: LatencyRow | None,
) -> Held:
    """Judge a rung by what the objective holds fixed.

    Args:
        objective: What is searched for.
        budget: The profile's budgets.
        confidence: How sure it must be that the drop is within its budget.
        metric: The rung's metric on the selection split, with its drop.
        size_mb: About the size of the rung's package.
        latency: What was measured on the target; None: it can't be measured.
    """
    rows = [
        row
        for row in judge(budget, size_mb=size_mb, metric=metric, latency=latency)
        if row.value is not None and row.name != "metric_drop"
    ]
    if objective == "metric":
        return _within(rows)
    assert budget.metric_drop is not None  # noqa: S101 (planning refuses a profile without it)
    bound = drop_bound(metric, confidence)
    drop, most, limit = (change_words(metric.name, one) for one in (metric.drop or 0.0, bound, budget.metric_drop))
    words = f"drop {drop}, at most {most} with {confidence:.0%} confidence"
    if bound > budget.metric_drop:
        beyond = metric.drop is None or metric.drop > budget.metric_drop
        return Held(False, beyond, f"{words}, more than the budget of {limit}", None)
    floors = [row for row in rows if row.name.startswith("min_recall") and row.verdict == "fail"]
    if floors:
        row = floors[0]
        return Held(False, True, f"{row.name} is {row.value:.3g}, less than {row.limit:g}", None)
    return Held(True, False, f"{words}, within the budget of {limit}", None)


def _within(rows: Sequence[BudgetRow]) -> Held:
    rows = [row for row in rows if row.name in _SEARCHED]
    shares = {row.name: (row.value or 0.0) / row.limit for row in rows}
    used = max(shares.values(), default=None)
    missed = [row for row in rows if row.verdict != "pass"]
    if missed:
        beyond = any(row.verdict == "fail" for row in missed)
        return Held(False, beyond, "; ".join(map(_missed_words, missed)), used)
    names = [f"{share:.0%} of {name}" for name, share in shares.items()]
    return Held(True, False, f"uses {' and '.join(names)}", used)


def _missed_words(row: BudgetRow) -> str:
    if row.verdict == "fail":
        return f"{row.name} is {row.value:.4g}, but the budget is {row.limit:g}"
    if row.interval is None:
        return f"{row.name} is {row.value:.4g}, but too little was measured to judge it"
    low, high = row.interval
    return f"{row.name} is between {low:.4g} and {high:.4g}, too close to the budget of {row.limit:g}"
