"""Choose the size of every layer, so that a model keeps a budget and loses as little as possible.

    min Σ over layers loss(heads, width)   with   cost(model) ≤ budget

Each layer takes one of its sizes, or is dropped. The solution is by dynamic programming over the budget in small units,
as in SPDY (https://arxiv.org/abs/2201.13096) and ZipLM (https://arxiv.org/abs/2302.04089). Costs are rounded up to whole
units, so the budget is kept, and the solution is exact for the rounded costs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprune.base.errors import UnreachableBudgetError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.models.record import LayerRecord
from edgeprune.pruning.loss_table import LayerLosses, LossTable
from edgeprune.search.costs import Costs, CostUnit, LayerSize

__all__ = ["Allocation", "LayerAllocation", "allocate"]

_UNITS = 10_000
"""Into how many units the budget is divided. Rounding up wastes less than a unit in each layer."""
_ROUNDING = 1e-9
"""By what share of a unit a cost may be above a whole number of units, so that sums of floats count as exact."""

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class LayerAllocation(Frozen):
    """Hold the size of one layer."""

    index: int
    """The layer's number in the dense model."""
    heads: int
    neurons: int


class Allocation(Frozen):
    """Hold the sizes of all layers, and what they cost and lose."""

    budget: float
    unit: CostUnit
    cost: float
    """The predicted cost of the model."""
    loss: float
    """The sum of the layers' losses."""
    layers: tuple[LayerAllocation, ...]
    """The layers that stay, from the bottom up. A layer that isn't here is dropped."""

    @property
    def sizes(self) -> tuple[LayerSize, ...]:
        """The sizes of the layers that stay, as `Costs.of` takes them."""
        return tuple((layer.heads, layer.neurons) for layer in self.layers)

    def records(self, losses: LossTable) -> tuple[LayerRecord, ...]:
        """Name the layers and units that stay: of each layer, the most important ones by the table of its losses."""
        by_index = {layer.index: layer for layer in losses.layers}
        return tuple(
            LayerRecord(
                index=layer.index,
                heads=tuple(sorted(by_index[layer.index].heads[: layer.heads])),
                neurons=tuple(sorted(by_index[layer.index].neurons[: layer.neurons])),
            )
            for layer in self.layers
        )


@dataclass(frozen=True)
class _Sizes:
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
class _Layer:
    """Hold the sizes that a layer may have, by what lies above it."""

    headless: _Sizes
    """Without heads, if no layer above has heads."""
    topmost: _Sizes
    """With heads, if no layer above has heads."""
    below: _Sizes
    """Below a layer with heads."""
    dropped: float
    """The loss without the layer; infinite if it must stay."""


def allocate(costs: Costs, losses: LossTable, budget: float) -> Allocation:
    """Choose the size of every layer that is left. At least one layer stays.

    Args:
        costs: What layers cost by their sizes.
        losses: What the layers that are left lose by their sizes.
        budget: The most that the model may cost, in the unit of `costs`.

    Raises:
        UnreachableBudgetError: No choice keeps the budget. The error has the least cost that there is.
    """
    layers = [_layer(costs, layer) for layer in losses.layers]
    chosen = _solved(layers, budget - costs.base)
    if chosen is None:
        raise UnreachableBudgetError(budget, least=costs.base + _least(layers), unit=costs.unit)
    kept = []
    loss = 0.0
    for layer, size in zip(losses.layers, chosen, strict=True):
        if size is not None:
            kept.append(LayerAllocation(index=layer.index, heads=size[0], neurons=size[1]))
        loss += _loss(layer, size)
    cost = costs.of([(layer.heads, layer.neurons) for layer in kept])
    return Allocation(budget=budget, unit=costs.unit, cost=cost, loss=loss, layers=tuple(kept))


def _loss(layer: LayerLosses, size: LayerSize | None) -> float:
    """Give the loss of a layer's size; None: the layer is dropped."""
    if size is None:
        return np.inf if layer.dropped is None else layer.dropped
    loss = layer.attention[size[0]] + layer.ffn[layer.widths.index(size[1])]
    # What an empty layer adds is nothing but a bias.
    return max(loss, layer.dropped or 0.0) if size == (0, 0) else loss


def _layer(costs: Costs, layer: LayerLosses) -> _Layer:
    headless = [(0, width) for width in layer.widths]
    headed = [(heads, width) for heads in range(1, len(layer.attention)) for width in layer.widths]

    def thinned(sizes: list[LayerSize], *, top: bool) -> _Sizes:
        """Leave out what costs no less than another size and loses no less."""
        best: list[tuple[float, float, LayerSize]] = []
        for choice in sorted((costs.layer(size, top=top), _loss(layer, size), size) for size in sizes):
            if not best or choice[1] < best[-1][1]:
                best.append(choice)
        return _Sizes([size for _, _, size in best], *np.array([choice[:2] for choice in best]).reshape(-1, 2).T)

    return _Layer(
        headless=thinned(headless, top=True),
        topmost=thinned(headed, top=True),
        below=thinned(headless + headed, top=False),
        dropped=_loss(layer, None),
    )


def _least(layers: list[_Layer]) -> float:
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

    layer: _Layer
    none: float
    """The loss of the layers above if none of them stays."""
    top: FloatArray
    """The loss of the layers above if some stay, but none has heads."""
    taken_top: IntArray
    taken_below: IntArray
    """Numbers of `layer.below`, and after them those of `layer.topmost`."""


def _solved(layers: list[_Layer], free: float) -> list[LayerSize | None] | None:
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


def _add(sizes: _Sizes, unit: float, above: FloatArray, losses: FloatArray, taken: IntArray, *, first: int = 0) -> None:
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
