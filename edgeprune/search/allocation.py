"""Choose the size of every layer, so that a model keeps a budget and loses as little as possible.

    min Σ over layers loss(heads, width)   with   cost(model) ≤ budget

Each layer takes one of its sizes, or is dropped. The solution is by dynamic programming over the budget in small units,
as in SPDY (https://arxiv.org/abs/2201.13096) and ZipLM (https://arxiv.org/abs/2302.04089). Costs are rounded up to whole
units, so the budget is kept, and the solution is exact for the rounded costs. If the model may be narrowed, the problem is
solved at each hidden size that it may have, with the costs of that size.
"""

import numpy as np
from pydantic import Field

from edgeprune.base.errors import UnreachableBudgetError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.models.record import LayerRecord
from edgeprune.pruning.loss_table import LayerLosses, LossTable
from edgeprune.search.costs import Costs, CostUnit, LayerSize
from edgeprune.search.hidden_costs import HiddenCosts
from edgeprune.search.knapsack import LayerSizes, Sizes, least_cost, solve

__all__ = ["Allocation", "LayerAllocation", "allocate", "allocate_each"]


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
    hidden: int | None = None
    """The smaller hidden size that the model is given; None: it keeps its own."""
    distances: dict[int, float] = Field(default_factory=dict)
    """By each hidden size that was tried, how far the outputs of the model were from the dense model's after repair."""

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


def allocate(costs: Costs, losses: LossTable, budget: float) -> Allocation:
    """Choose the size of every layer that is left. At least one layer stays.

    Args:
        costs: What layers cost by their sizes.
        losses: What the layers that are left lose by their sizes.
        budget: The most that the model may cost, in the unit of `costs`.

    Raises:
        UnreachableBudgetError: No choice keeps the budget. The error has the least cost that there is.
    """
    layers = [_layer_sizes(costs, layer) for layer in losses.layers]
    chosen = solve(layers, budget - costs.base)
    if chosen is None:
        raise UnreachableBudgetError(budget, least=costs.base + least_cost(layers), unit=costs.unit)
    kept = []
    loss = 0.0
    for layer, size in zip(losses.layers, chosen, strict=True):
        if size is not None:
            kept.append(LayerAllocation(index=layer.index, heads=size[0], neurons=size[1]))
        loss += _loss(layer, size)
    cost = costs.of([(layer.heads, layer.neurons) for layer in kept])
    return Allocation(budget=budget, unit=costs.unit, cost=cost, loss=loss, layers=tuple(kept))


def allocate_each(costs: HiddenCosts, losses: LossTable, budget: float, *, hidden: int) -> dict[int, Allocation]:
    """Choose the sizes of the layers at each hidden size that the model may have, and at which the budget can be kept.

    Args:
        costs: What layers cost by their sizes, at each hidden size.
        losses: What the layers that are left lose by their sizes.
        budget: The most that the model may cost, in the unit of `costs`.
        hidden: The hidden size that the model has. It is never given a larger one.

    Returns:
        By the hidden size, from the largest down; one or more.

    Raises:
        UnreachableBudgetError: No choice keeps the budget. The error has the least cost that there is.
    """
    found, refused = dict[int, Allocation](), list[UnreachableBudgetError]()
    for size, its_costs in costs.at_most(hidden):
        try:
            allocation = allocate(its_costs, losses, budget)
        except UnreachableBudgetError as error:
            refused.append(error)
        else:
            found[size] = allocation.model_copy(update={"hidden": None if size == hidden else size})
    if not found:
        raise min(refused, key=lambda error: error.least)
    return found


def _loss(layer: LayerLosses, size: LayerSize | None) -> float:
    """Give the loss of a layer's size; None: the layer is dropped."""
    if size is None:
        return np.inf if layer.dropped is None else layer.dropped
    loss = layer.attention[size[0]] + layer.ffn[layer.widths.index(size[1])]
    # What an empty layer adds is nothing but a bias.
    return max(loss, layer.dropped or 0.0) if size == (0, 0) else loss


def _layer_sizes(costs: Costs, layer: LayerLosses) -> LayerSizes:
    headless = [(0, width) for width in layer.widths]
    headed = [(heads, width) for heads in range(1, len(layer.attention)) for width in layer.widths]

    def thinned(sizes: list[LayerSize], *, top: bool) -> Sizes:
        """Leave out what costs no less than another size and loses no less."""
        best: list[tuple[float, float, LayerSize]] = []
        for choice in sorted((costs.layer(size, top=top), _loss(layer, size), size) for size in sizes):
            if not best or choice[1] < best[-1][1]:
                best.append(choice)
        return Sizes([size for _, _, size in best], *np.array([choice[:2] for choice in best]).reshape(-1, 2).T)

    return LayerSizes(
        headless=thinned(headless, top=True),
        topmost=thinned(headed, top=True),
        below=thinned(headless + headed, top=False),
        dropped=_loss(layer, None),
    )
