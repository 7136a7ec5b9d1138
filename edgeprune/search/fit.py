"""Fit a table of costs to the times of whole models.

A model's time is a sum (see `costs`). What is fitted are the steps from each size to the next larger one that was timed.
Steps are not negative, so that no cost falls with size: this is a non-negative least-squares problem, over relative
errors. A model that was disturbed while it was timed counts less (iteratively reweighted, which minimizes absolute
errors). Between the sizes that were timed, costs are interpolated.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgeprune.search.costs import Costs, TopCosts, top_flags
from edgeprune.search.table_design import Layers, Shape

__all__ = ["fit_costs"]

_ROUNDS = 8
_NOISE = 0.005
"""The relative error below which all models weigh the same."""


def fit_costs(times_ms: Mapping[Layers, float], shape: Shape, *, narrowed: bool) -> Costs:
    """Fit a table to the times of models.

    Args:
        times_ms: The time of each model, by its layers from the bottom up.
        shape: The sizes that the layers can have.
        narrowed: Whether the topmost layers are computed for one token only, so that they have costs of their own.
    """
    curves = [_Curve(times_ms, part, top=top) for top in ((False, True) if narrowed else (None,)) for part in (0, 1)]
    rows = [np.concatenate([[1.0], *(curve.steps(model) for curve in curves)]) for model in times_ms]
    base, *steps = _solve(np.array(rows) / np.array([*times_ms.values()])[:, None])
    ends = np.cumsum([len(curve.knots) for curve in curves])
    found = [
        curve.between(part, shape) for curve, part in zip(curves, np.split(np.array(steps), ends[:-1]), strict=True)
    ]
    top = TopCosts(attention=found[2], ffn=found[3]) if narrowed else None
    return Costs(unit="ms", base=base, attention=found[0], widths=shape.widths, ffn=found[1], top=top)


class _Curve:
    """Describe the costs of one part of layers by the number of its units.

    Args:
        models: All models.
        part: 0: the part has heads, 1: it has neurons.
        top: Which layers are meant: the topmost ones, the others, or all (None).
    """

    def __init__(self, models: Sequence[Layers] | Mapping[Layers, float], part: int, *, top: bool | None) -> None:
        self._part = part
        self._top = top
        sizes = sorted({size for model in models for size in self._sizes(model)})
        # What a layer costs without neurons is told by its heads' curve alone.
        self.knots = [size for size in sizes if part == 0 or size > 0]

    def steps(self, model: Layers) -> npt.NDArray[np.float64]:
        """Count for each step how many of a model's layers are at its end or beyond.

        The first head of the topmost layers is left to the base: every useful model has one.
        """
        counts = [sum(size >= knot for size in self._sizes(model)) for knot in self.knots]
        is_base = [self._top is True and self._part == 0 and knot == 1 for knot in self.knots]
        return np.where(is_base, 0.0, counts)

    def between(self, steps: npt.NDArray[np.float64], shape: Shape) -> tuple[float, ...]:
        """Give the cost of every possible number of units, from the steps."""
        wanted = shape.widths if self._part else range(shape.heads + 1)
        knots, costs = ([0, *self.knots], [0.0, *np.cumsum(steps)]) if self._part else (self.knots, np.cumsum(steps))
        return tuple(float(cost) for cost in np.interp(wanted, knots, costs))

    def _sizes(self, model: Layers) -> list[int]:
        return [
            size[self._part]
            for size, top in zip(model, top_flags(model), strict=True)
            if self._top is None or top == self._top
        ]


def _solve(rows: npt.NDArray[np.float64]) -> list[float]:
    """Find steps whose sums are near 1 for every row."""
    from scipy.optimize import nnls

    weights = np.ones(len(rows))
    for _ in range(_ROUNDS):
        steps, _ = nnls(rows * weights[:, None], weights)
        weights = np.maximum(np.abs(rows @ steps - 1), _NOISE) ** -0.5
    return [float(step) for step in steps]
