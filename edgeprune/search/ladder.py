"""Decide which rung a search makes next. A rung is a model that should be so many times cheaper than the dense one.

Two kinds of search differ in what they hold fixed. With the objectives latency and size, the metric's budget is held:
small speed-ups keep it, and the largest that does is looked for. With the objective metric, budgets of latency, memory
and size are held: large speed-ups keep them, and the smallest that does is looked for.

Everything here is a pure function of what was tried, so that a search that is run again goes the same way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Tried", "least_that_keeps", "most_that_keeps"]

_NARROW = 1.05
"""Two speed-ups that are nearer than this aren't refined any further: they can't be told apart reliably."""
_USED = 0.9
"""Share of a budget above which a rung uses it well enough."""


@dataclass(frozen=True)
class Tried:
    """Say what is known of a rung that was made."""

    speedup: float
    """How many times cheaper it was asked to be; 1 is the dense model."""
    keeps: bool
    """Whether it keeps what the search holds fixed, as surely as it must."""
    beyond: bool
    """Whether it lies beyond that by what was measured. One that neither keeps it nor lies beyond it may do either."""
    used: float | None = None
    """The largest share of a budget that it uses; None: no budget was measured."""


def most_that_keeps(steps: Sequence[float], tried: Sequence[Tried], *, refine: int) -> float | None:
    """Give the next speed-up of a search for the largest one that keeps the metric's budget; None: it is decided.

    The ladder ends after two steps in a row beyond the budget, because one may be there by chance. Then the gap between
    the largest speed-up that keeps the budget and the next one that doesn't is halved (on a logarithmic scale).

    Args:
        steps: The ladder's speed-ups, increasing.
        tried: The rungs so far, in any order.
        refine: How many speed-ups beside the ladder's may be tried.
    """
    known = {one.speedup: one for one in tried}
    climbed = [known[step] for step in steps if step in known]
    decided = len(climbed) > 1 and all(one.beyond for one in climbed[-2:])
    left = [step for step in steps if step not in known]
    if left and not decided:
        return left[0]
    best = max((one.speedup for one in tried if one.keeps), default=1.0)
    beyond = min((one.speedup for one in tried if not one.keeps and one.speedup > best), default=None)
    if beyond is None or beyond / best < _NARROW or _beside(steps, tried) >= refine:
        return None
    return round(math.sqrt(best * beyond), 3)


def least_that_keeps(
    steps: Sequence[float], tried: Sequence[Tried], *, wanted: float | None, refine: int
) -> float | None:
    """Give the next speed-up of a search for the smallest one that keeps the other budgets; None: it is decided.

    Args:
        steps: The ladder's speed-ups, increasing.
        tried: The rungs so far, in any order. The dense model is among them.
        wanted: The speed-up that keeps all latency budgets by the prediction that is the best so far; None: nothing
            predicts it.
        refine: How many speed-ups beside the ladder's may be tried, apart from the first one that is predicted.
    """
    most = max(one.speedup for one in tried)
    keeping = min((one for one in tried if one.keeps), key=lambda one: one.speedup, default=None)
    exhausted = _beside(steps, tried) >= refine + (wanted is not None)
    if keeping is None:
        above = [step for step in steps if step > most * _NARROW]
        if wanted is None or exhausted or (above and above[0] <= wanted / _NARROW):
            return above[0] if above else None
        return round(max(wanted, most * 1.02), 3)
    missing = max((one.speedup for one in tried if not one.keeps and one.speedup < keeping.speedup), default=None)
    if missing is None or exhausted or keeping.speedup / missing < _NARROW:
        return None
    if keeping.used is not None and keeping.used >= _USED:
        return None
    between = math.sqrt(missing * keeping.speedup)
    if wanted is not None and missing * 1.02 < wanted < keeping.speedup / 1.02:
        between = wanted
    return round(between, 3)


def _beside(steps: Sequence[float], tried: Sequence[Tried]) -> int:
    """Count the rungs that are no step of the ladder."""
    return sum(one.speedup not in steps and one.speedup != 1 for one in tried)
