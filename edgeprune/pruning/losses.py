"""Estimate what each layer of a model loses at each size: by how far the outputs move, after repair.

A sublayer keeps its n most important units. Its output projection is solved again by least squares, as `reconstruct`
does, so that it gives what it gave with all units. The model's outputs are then compared with its present outputs, on
rows that the projection wasn't solved on. ZipLM (https://arxiv.org/abs/2302.04089) and SPDY
(https://arxiv.org/abs/2201.13096) add up such losses of single layers to tell what many of them lose together.

A unit's importance is its share of all mask Fisher scores, which say what the outputs depend on, and its share of the
errors that are left when a unit goes and the others make up for it. Fisher scores alone say how the outputs change at
first, and miss the few neurons without which a layer's states are elsewhere altogether.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import isotonic_regression
from torch import nn

from edgeprune.models.architectures import depth_of, layers_of
from edgeprune.models.resize import without_layer
from edgeprune.pruning import importance
from edgeprune.pruning.allocation import FloatArray
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.importance import Batch
from edgeprune.pruning.least_squares import NestedRidge, errors_without, gram_size, with_ones
from edgeprune.pruning.loss_table import LayerLosses, LossTable, ffn_widths
from edgeprune.pruning.sublayers import FromBelow, sublayers

__all__ = ["distance", "estimate_losses"]

_TEMPERATURE = 4.0
"""Softens the outputs that are compared. At 1, the few texts whose label is in doubt are most of a classifier's
divergence; the higher it is, the more each text counts alike, as in a squared error of the logits."""

IntArray = npt.NDArray[np.int64]


def estimate_losses(pruned: Pruned, context: Context, *, samples: int, align: int, ridge: float) -> LossTable:
    """Estimate what each layer loses at each size.

    Args:
        pruned: The model, which is left as it is.
        context: The task and the data.
        samples: How many training rows are drawn. Projections are solved on one half, losses are measured on the other.
        align: FFN widths are multiples of this, and the present width.
        ridge: Weight of staying near the present projection, as in `reconstruct`.
    """
    model, record = pruned.model, pruned.record
    scores = importance.fisher(
        model, record.head_dim, context.batches(samples), lambda batch: context.loss(batch, "auto")
    )
    rows = max(2, min(samples, len(context.contents)))
    solver = _Solver(list(context.batches(rows // 2)), context, pruned, ridge)
    judge = _Judge(list(context.batches(rows, skip=rows // 2)), context, pruned)
    sizes = [(list(range(len(layer.heads) + 1)), ffn_widths(len(layer.neurons), align)) for layer in record.layers]
    total, found = sum(len(_tried(counts)) - 1 for layer in sizes for counts in layer), []
    done = count(1)
    for position, (layer, parts, (heads, widths)) in enumerate(
        zip(record.layers, layers_of(model), sizes, strict=True)
    ):
        for passes in (solver.passes, judge.passes):
            passes.keep_below(layers_of(model)[:position])
        orders, losses = [], []
        kinds = ((scores.heads[position], record.head_dim, heads), (scores.neurons[position], 1, widths))
        for sublayer, (values, width, counts) in zip(sublayers(parts), kinds, strict=True):
            order, ridges = solver.ordered(*sublayer, values, width)
            columns = (order[:, None] * width + np.arange(width)).flatten()
            tried, moved = _tried(counts), [0.0]
            for kept in reversed(tried[:-1]):
                assert ridges is not None  # noqa: S101 (without units nothing is tried)
                with _solved(sublayer[1], columns[: kept * width], ridges):
                    moved.append(judge.loss())
                context.progress(next(done), total, "sizes")
            orders.append(order)
            losses.append(_by_count(counts, tried, moved[::-1]))
        found.append(
            LayerLosses(
                index=layer.index,
                attention=losses[0],
                widths=widths,
                ffn=losses[1],
                dropped=judge.without(position),
                heads=tuple(layer.heads[unit] for unit in orders[0]),
                neurons=tuple(layer.neurons[unit] for unit in orders[1]),
            )
        )
    return LossTable(samples=rows, layers=tuple(found))


def distance(
    context: Context, batches: Iterable[Batch], outputs: Iterable[torch.Tensor], wanted: Iterable[torch.Tensor]
) -> float:
    """Compute how far outputs are from those that are wanted, averaged over the rows of all batches."""
    distances, rows = [], []
    for batch, found, right in zip(batches, outputs, wanted, strict=True):
        distances.append(context.divergence(batch, found, right, temperature=_TEMPERATURE))
        rows.append(len(next(iter(batch.values()))))
    return max(0.0, float(np.average(distances, weights=rows)))


class _Solver:
    """Order a projection's units by importance, and solve it again for the first of them."""

    def __init__(self, batches: Sequence[Batch], context: Context, pruned: Pruned, strength: float) -> None:
        self.passes = FromBelow(batches, partial(context.run, pruned.model))
        self._batches = len(batches)
        self._times = depth_of(pruned.model.config)
        self._strength = strength

    def ordered(
        self, residual: nn.Module, linear: nn.Linear, scores: FloatArray, width: int
    ) -> tuple[IntArray, NestedRidge | None]:
        """Return the units, the most important first, and the solver for the bias and the first of their columns.

        There is no solver for a projection without units.
        """
        if not len(scores):
            return np.arange(0), None
        size = gram_size(linear)
        gram = torch.zeros(size, size, dtype=torch.float64)
        for number in range(self._batches):
            inputs = with_ones(self.passes.inputs(number, residual, linear, self._times)[1], linear)
            gram.add_(inputs.T @ inputs)  # one batch is summed in fp32, all batches in fp64
        weights = linear.weight.detach().T.double()
        if linear.bias is not None:
            weights = torch.cat([weights, linear.bias.detach()[None].double()])
        errors = errors_without(gram, weights, self._strength, units=len(scores), width=width).numpy()
        order = np.argsort(-(_shares(scores) + _shares(errors)), kind="stable")
        columns = np.concatenate(
            [np.arange(linear.in_features, size), (order[:, None] * width + np.arange(width)).flatten()]
        )
        by_importance = torch.from_numpy(columns)
        return order, NestedRidge(gram[by_importance][:, by_importance], weights[by_importance], self._strength)


class _Judge:
    """Measure how far a model's outputs are from what they are now."""

    def __init__(self, batches: Sequence[Batch], context: Context, pruned: Pruned) -> None:
        self._batches = batches
        self._context = context
        self._model = pruned.model
        self._can_drop = len(pruned.record.layers) > 1 and depth_of(pruned.model.config) == 1
        self.passes = FromBelow(batches, partial(context.run, pruned.model))
        self._wanted = [self.passes.outputs(number) for number in range(len(batches))]

    def loss(self) -> float:
        """Compute the mean distance over all rows."""
        outputs = map(self.passes.outputs, range(len(self._batches)))
        return distance(self._context, self._batches, outputs, self._wanted)

    def without(self, position: int) -> float | None:
        """Compute the loss without a layer; None: it can't be left out."""
        if not self._can_drop:
            return None
        with without_layer(self._model, position):
            return self.loss()


def _tried(counts: Sequence[int]) -> list[int]:
    """Choose the counts whose losses are measured: fewer and fewer, for the more units are left, the less one adds.

    They are the first few, then two to an octave, and the last.
    """
    places = {1, *(factor << power for factor in (2, 3) for power in range(len(counts).bit_length()))}
    return [kept for place, kept in enumerate(counts) if place in places or kept in (0, counts[-1])]


def _by_count(counts: Sequence[int], tried: Sequence[int], losses: Sequence[float]) -> tuple[float, ...]:
    """Give a loss for every count: the nearest to those that were measured that never grow with the count.

    The last one is 0, and stays so.
    """
    falling = isotonic_regression(losses, increasing=False).x
    return tuple(np.interp(counts, tried, falling).tolist())


def _shares(values: FloatArray) -> FloatArray:
    return values / (values.sum() or 1.0)


@contextmanager
def _solved(linear: nn.Linear, columns: IntArray, ridges: NestedRidge) -> Iterator[None]:
    """Let a projection read only some columns inside the block, with weights that make up for the others."""
    before = [parameter.detach().clone() for parameter in linear.parameters()]
    try:
        with torch.no_grad():
            linear.weight.zero_()
            biases = int(linear.bias is not None)
            weights = ridges.weights(biases + len(columns)).to(linear.weight.dtype)
            linear.weight[:, torch.from_numpy(columns)] = weights[biases:].T
            if linear.bias is not None:
                linear.bias.copy_(weights[0])
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(linear.parameters(), before, strict=True):
                parameter.copy_(value)
