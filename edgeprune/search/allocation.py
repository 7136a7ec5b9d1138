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
class _Choices:
    """Hold the sizes that a layer may have, each of which costs more and loses less than the one before it."""

    sizes: list[LayerSize]
    costs: FloatArray
    losses: FloatArray
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
    layers = [_choices(costs, layer) for layer in losses.layers]
    chosen = _solved(layers, budget - costs.base)
    if chosen is None:
        raise UnreachableBudgetError(budget, least=costs.base + _least(layers), unit=costs.unit)
    kept = []
    cost, loss = costs.base, 0.0
    for layer, choices, number in zip(losses.layers, layers, chosen, strict=True):
        if number is None:
            loss += choices.dropped
            continue
        heads, neurons = choices.sizes[number]
        kept.append(LayerAllocation(index=layer.index, heads=heads, neurons=neurons))
        cost += choices.costs[number]
        loss += choices.losses[number]
    return Allocation(budget=budget, unit=costs.unit, cost=cost, loss=loss, layers=tuple(kept))


def _choices(costs: Costs, layer: LayerLosses) -> _Choices:
    """List a layer's sizes without those that cost no less than another and lose no less."""
    dropped = np.inf if layer.dropped is None else layer.dropped
    # A layer may have a width that no aligned model has, if it was pruned before with another alignment.
    widths = np.interp(layer.widths, costs.widths, costs.ffn)
    found = []
    for heads, attention in enumerate(layer.attention):
        for width, width_cost, ffn in zip(layer.widths, widths, layer.ffn, strict=True):
            loss = attention + ffn
            if heads == width == 0 and layer.dropped is not None:
                loss = max(loss, layer.dropped)  # what an empty layer adds is nothing but a bias
            found.append((costs.attention[heads] + float(width_cost), loss, (heads, width)))
    best: list[tuple[float, float, LayerSize]] = []
    for choice in sorted(found):
        if not best or choice[1] < best[-1][1]:
            best.append(choice)
    return _Choices(
        [size for _, _, size in best],
        np.array([cost for cost, _, _ in best]),
        np.array([loss for _, loss, _ in best]),
        dropped,
    )


def _least(layers: list[_Choices]) -> float:
    """Compute the least that all layers together can cost."""
    required = [choices.costs[0] for choices in layers if np.isinf(choices.dropped)]
    return float(sum(required)) if required else float(min(choices.costs[0] for choices in layers))


def _solved(layers: list[_Choices], free: float) -> list[int | None] | None:
    """Choose a size for each layer, or None to drop it; None in all: nothing costs as little as `free`."""
    if free < 0:
        return None
    unit = (max(free, _ROUNDING * max(choices.costs[-1] for choices in layers)) or 1.0) / _UNITS
    # By units spent, the least loss of the layers so far if at least one of them stays; and the loss if none does.
    some, none = np.full(_UNITS + 1, np.inf), 0.0
    steps: list[tuple[FloatArray, float, IntArray, IntArray]] = []
    for choices in layers:
        units = np.minimum(np.ceil(choices.costs / unit - _ROUNDING), _UNITS + 1).astype(np.int64)
        before = np.minimum(some, none)
        after, taken = some + choices.dropped, np.full(_UNITS + 1, -1)
        for number, spent in enumerate(units):
            total = before[: _UNITS + 1 - spent] + choices.losses[number]
            better = total < after[spent:]
            after[spent:][better] = total[better]
            taken[spent:][better] = number
        steps.append((some, none, units, taken))
        some, none = after, none + choices.dropped
    if np.isinf(some[-1]):
        return None
    chosen: list[int | None] = []
    left, ended = _UNITS, False
    for before_some, before_none, units, taken in reversed(steps):
        number = -1 if ended else int(taken[left])
        chosen.append(None if number < 0 else number)
        if number >= 0:
            left -= int(units[number])
            ended = before_none <= before_some[left]
    return chosen[::-1]
