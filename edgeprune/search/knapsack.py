"""Choose one size for each layer, so that together they cost no more than a budget and lose as little as possible.

A layer's cost depends on whether any layer above it has heads, so layers are gone through from the top down. What is
known of the layers above is the least that they lose, by the units of budget that they may cost: one array where none
of them has heads yet, and one where some have.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprune.search.costs import LayerSize

__all__ = ["LayerSizes", "Sizes", "least_cost", "solve"]

_UNITS = 10_000
"""Into how many units the budget is divided. Rounding up wastes less than a unit in each layer."""
_ROUNDING = 1e-9
"""By what share of a unit a cost may be above a whole number of units, so that sums of floats count as exact."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sizes:
    """Hold sizes that a layer may have, each of which costs more and loses less than the one before it."""

    sizes: list[LayerSize]
    costs: FloatArray
    losses: FloatArray

    @property
    def least(self) -> float:
        """The least cost; infinite without sizes."""
        return float(self.costs.min(initial=np.inf))

    def units(self, unit: float) -> list[int]:
        """Give the costs in whole units. What costs more than all units together counts as one unit more."""
        whole = np.minimum(np.ceil(self.costs / unit - _ROUNDING), _UNITS + 1)
        return [int(count) for count in whole]


@dataclass(frozen=True)
class LayerSizes:
    """Hold the sizes that a layer may have, by what lies above it."""

    headless: Sizes
    """Without heads, if no layer above has heads."""
    topmost: Sizes
    """With heads, if no layer above has heads."""
    below: Sizes
    """Below a layer with heads."""
    dropped: float
    """The loss without the layer; infinite if it must stay."""


def least_cost(layers: list[LayerSizes]) -> float:
    """Compute the least that all layers together can cost, if one of them stays."""
    none, top, below = 0.0, np.inf, np.inf
    for layer in reversed(layers):
        drop = np.inf if np.isinf(layer.dropped) else 0.0
        none, top, below = (
            none + drop,
            min(top + drop, min(none, top) + layer.headless.least),
            min(below + drop, below + layer.below.least, min(none, top) + layer.topmost.least),
        )
    return min(top, below)


@dataclass(frozen=True)
class _Step:
    """Hold what was chosen for one layer: by what was spent, a number of a size, or -1 for none."""

    layer: LayerSizes
    none: float
    """The loss of the layers above if none of them stays."""
    top: FloatArray
    """The loss of the layers above if some stay, but none has heads."""
    taken_top: IntArray
    taken_below: IntArray
    """Numbers of `layer.below`, and after them those of `layer.topmost`."""


def solve(layers: list[LayerSizes], free: float) -> list[LayerSize | None] | None:
    """Choose a size for each layer, or None to drop it; None in all: nothing costs as little as `free`.

    Layers are gone through from the top down, for a layer's cost depends on whether any above it has heads.
    """
    if free < 0:
        return None
    unit = (max(free, _ROUNDING * max(layer.below.costs[-1] for layer in layers)) or 1.0) / _UNITS
    # The least loss of the layers so far, by what they may cost together: none of them stays, no heads, heads.
    none, top, below = 0.0, np.full(_UNITS + 1, np.inf), np.full(_UNITS + 1, np.inf)
    steps = []
    for layer in reversed(layers):
        headless_above = np.minimum(top, none)
        new_top, taken_top = top + layer.dropped, np.full(_UNITS + 1, -1)
        _add(layer.headless, unit, headless_above, new_top, taken_top)
        new_below, taken_below = below + layer.dropped, np.full(_UNITS + 1, -1)
        _add(layer.below, unit, below, new_below, taken_below)
        _add(layer.topmost, unit, headless_above, new_below, taken_below, first=len(layer.below.sizes))
        steps.append(_Step(layer, none, top, taken_top, taken_below))
        none, top, below = none + layer.dropped, new_top, new_below
    if np.isinf(min(top[-1], below[-1])):
        return None
    return _traced(steps, unit, has_heads=bool(below[-1] <= top[-1]))


def _add(sizes: Sizes, unit: float, above: FloatArray, losses: FloatArray, taken: IntArray, *, first: int = 0) -> None:
    """Note where one of the sizes loses less than what is noted. The sizes' numbers start at `first`."""
    for number, (spent, loss) in enumerate(zip(sizes.units(unit), sizes.losses, strict=True), first):
        total = above[: _UNITS + 1 - spent] + loss
        better = total < losses[spent:]
        losses[spent:][better] = total[better]
        taken[spent:][better] = number


def _traced(steps: list[_Step], unit: float, *, has_heads: bool) -> list[LayerSize | None]:
    """Follow what was chosen, from the bottom up."""
    chosen: list[LayerSize | None] = []
    left, some_above = _UNITS, True
    for step in reversed(steps):
        number = int((step.taken_below if has_heads else step.taken_top)[left]) if some_above else -1
        if number < 0:
            chosen.append(None)
            continue
        from_below = len(step.layer.below.sizes)
        if has_heads and number < from_below:
            sizes = step.layer.below
        else:
            sizes, number = (step.layer.topmost, number - from_below) if has_heads else (step.layer.headless, number)
            has_heads = False
        left -= sizes.units(unit)[number]
        chosen.append(sizes.sizes[number])
        some_above = has_heads or bool(step.top[left] < step.none)
    return chosen
