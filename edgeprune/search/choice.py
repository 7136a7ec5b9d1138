"""Choose the rung that is shipped, and say in sentences why, and what its neighbours would cost.

The choice reads what was measured on the selection split. Nothing here reads the test split.
"""

import math
from collections.abc import Sequence
from typing import Literal

from edgeprune.base.errors import UsageError
from edgeprune.base.metric_words import change_words
from edgeprune.base.strict_yaml import Frozen
from edgeprune.profiles.search import Objective
from edgeprune.search.frontier import RungRow

__all__ = ["Asked", "Choice", "asked_rung", "best_rung", "faster_than", "more_accurate_than"]

_EXACT = 1e-9
"""How far a difference of two shares may be off by rounding."""


class Asked(Frozen):
    """Hold what the user asked for with `--at` or `--at-drop`."""

    kind: Literal["ms", "times", "drop"]
    value: float
    """Milliseconds, times as fast as the dense model in the target's precision, or a share of the metric."""


class Choice(Frozen):
    """Hold the rung that is shipped, and why."""

    rung: RungRow
    reason: str


def best_rung(objective: Objective, rungs: Sequence[RungRow]) -> Choice:
    """Choose the best rung of a search.

    If no rung keeps the limit, the fastest one or, where the metric is held, the most accurate one is chosen.
    """
    keeping = [one for one in rungs if one.keeps]
    if not keeping:
        nearest = min(rungs, key=_pace) if objective == "metric" else max(rungs, key=lambda one: one.metric)
        how = "is the fastest" if objective == "metric" else "is the most accurate"
        return Choice(rung=nearest, reason=f"no model keeps the limit; {nearest.name} {how}: {nearest.why}")
    if objective == "metric":
        rung = max(keeping, key=lambda one: (one.metric, -_pace(one)))
        return Choice(rung=rung, reason=f"{rung.name} is the most accurate model that keeps the budgets: it {rung.why}")
    if objective == "size":
        rung = min(keeping, key=lambda one: one.size_mb)
        return Choice(rung=rung, reason=f"{rung.name} is the smallest model that keeps the metric's budget: {rung.why}")
    rung = min(keeping, key=_pace)
    return Choice(rung=rung, reason=f"{rung.name} is the fastest model that keeps the metric's budget: {rung.why}")


def asked_rung(asked: Asked, rungs: Sequence[RungRow], metric: str) -> Choice:
    """Choose the rung that the user asked for. `metric` is the name of the task's metric.

    Raises:
        UsageError: No rung of the search is as asked, or no latency was measured.
    """
    if asked.kind == "ms":
        timed = [(one.p50_ms, one) for one in rungs if one.p50_ms is not None]
        if not timed:
            raise UsageError(
                "--at names milliseconds, but the target can't be measured from here; give --at 4x instead"
            )
        fits = [one for p50_ms, one in timed if p50_ms <= asked.value]
        if not fits:
            p50_ms, one = min(timed, key=lambda pair: pair[0])
            raise UsageError(
                f"--at is {asked.value:g}ms, but the fastest model of this search, {one.name}, takes {p50_ms:.3f} ms; give "
                f"--at {math.ceil(100 * p50_ms) / 100:g}ms or more"
            )
        rung = max(fits, key=lambda one: (one.metric, -_pace(one)))
        return Choice(
            rung=rung, reason=f"{rung.name} is the most accurate model of at most {asked.value:g} ms, as asked"
        )
    if asked.kind == "times":
        rung = min(rungs, key=lambda one: abs(math.log(_pace(one) * asked.value)))
        return Choice(
            rung=rung,
            reason=f"{rung.name} is the model nearest to {asked.value:g} times as fast as the dense one, as asked: it is "
            f"{1 / _pace(rung):.2f} times as fast",
        )
    fits = [one for one in rungs if one.drop <= asked.value + _EXACT]
    if not fits:
        one = min(rungs, key=lambda one: one.drop)
        raise UsageError(
            f"--at-drop is {100 * asked.value:g}%, but the most accurate model of this search, {one.name}, drops "
            f"{change_words(metric, one.drop)}; give --at-drop {math.ceil(1000 * one.drop) / 10:g}% or more"
        )
    rung = min(fits, key=_pace)
    return Choice(
        rung=rung,
        reason=f"{rung.name} is the fastest model that drops at most {change_words(metric, asked.value)} on the selection split, "
        f"as asked",
    )


def faster_than(shipped: RungRow, rungs: Sequence[RungRow], metric: str) -> str | None:
    """Say what the next faster rung costs; None: there is no faster one."""
    faster = [one for one in rungs if _pace(one) < _pace(shipped)]
    if not faster:
        return None
    one = max(faster, key=_pace)
    return f"the next faster, {one.name}, {_time_words(one, shipped)}, {_metric_words(one, shipped, metric)}: {one.why}"


def more_accurate_than(shipped: RungRow, rungs: Sequence[RungRow], metric: str) -> str | None:
    """Say what the next more accurate rung costs; None: there is no more accurate one."""
    better = [one for one in rungs if one.metric > shipped.metric]
    if not better:
        return None
    one = min(better, key=lambda one: (one.metric, _pace(one)))
    return f"the next more accurate, {one.name}, {_time_words(one, shipped)}, {_metric_words(one, shipped, metric)}: {one.why}"


def _pace(one: RungRow) -> float:
    """Give what rungs are ordered by: the time relative to the dense model's, which took turns with the rung.

    A machine may be slower as a whole when another rung is measured. Where nothing was measured, it is what was asked
    for.
    """
    if one.p50_ms is None or one.dense_p50_ms is None:
        return 1 / one.speedup
    return one.p50_ms / one.dense_p50_ms


def _time_words(one: RungRow, than: RungRow) -> str:
    ratio = _pace(one) / _pace(than)
    change = f"{100 * (1 - ratio):.0f}% less" if ratio < 1 else f"{100 * (ratio - 1):.0f}% more"
    return f"costs {change}" if one.p50_ms is None else f"takes {change} time"


def _metric_words(one: RungRow, than: RungRow, metric: str) -> str:
    return f"{change_words(metric, one.metric - than.metric)} on the selection split"
