"""Estimate what each layer of a model loses at each size: by how far the outputs move, after repair.

A sublayer keeps its n most important units by mask Fisher scores. Its output projection is solved again by least
squares, as `reconstruct` does, so that it gives what it gave with all units. The model's outputs are then compared with
its present outputs, on rows that the projection wasn't solved on. ZipLM (https://arxiv.org/abs/2302.04089) and SPDY
(https://arxiv.org/abs/2201.13096) add up such losses of single layers to tell what many of them lose together.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import isotonic_regression
from torch import nn

from edgeprune.models.architectures import depth_of, layers_of
from edgeprune.models.resize import without_layer
from edgeprune.pruning import importance
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.importance import Batch
from edgeprune.pruning.least_squares import NestedRidge, gram_size, with_ones
from edgeprune.pruning.loss_table import LayerLosses, LossTable
from edgeprune.pruning.sublayers import FromBelow, sublayers

__all__ = ["estimate_losses"]

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
    solved, judged = list(context.batches(rows // 2)), list(context.batches(rows, skip=rows // 2))
    run = partial(context.run, model)
    solving, judge = FromBelow(solved, run), _Judge(judged, context, pruned)
    layers, times = layers_of(model), depth_of(model.config)
    tried = [(list(range(len(layer.heads) + 1)), _widths(len(layer.neurons), align)) for layer in record.layers]
    total, done = sum(len(heads) + len(widths) - 2 for heads, widths in tried), 0
    found = []
    for position, (layer, parts, counts) in enumerate(zip(record.layers, layers, tried, strict=True)):
        solving.keep_below(layers[:position])
        judge.keep_below(position)
        orders, losses = [], []
        units = ((scores.heads[position], record.head_dim), (scores.neurons[position], 1))
        for (residual, linear), (values, width), sizes in zip(sublayers(parts), units, counts, strict=True):
            order = np.argsort(-values, kind="stable")
            columns = (order[:, None] * width + np.arange(width)).flatten()
            ridges = _nested(solving, len(solved), residual, linear, columns, ridge, times)
            by_size = [0.0]
            for count in reversed(sizes[:-1]):
                with _solved(linear, columns[: count * width], ridges):
                    by_size.append(judge.loss())
                done += 1
                context.progress(done, total, "sizes")
            orders.append(order)
            losses.append(_never_less(by_size[::-1]))
        found.append(
            LayerLosses(
                index=layer.index,
                attention=losses[0],
                widths=tuple(counts[1]),
                ffn=losses[1],
                dropped=judge.without(position),
                heads=tuple(layer.heads[unit] for unit in orders[0]),
                neurons=tuple(layer.neurons[unit] for unit in orders[1]),
            )
        )
    return LossTable(samples=rows, layers=tuple(found))


class _Judge:
    """Measure how far a model's outputs are from what they are now."""

    def __init__(self, batches: Sequence[Batch], context: Context, pruned: Pruned) -> None:
        self._batches = batches
        self._context = context
        self._model = pruned.model
        self._can_drop = len(pruned.record.layers) > 1 and depth_of(pruned.model.config) == 1
        self._passes = FromBelow(batches, partial(context.run, pruned.model))
        self._wanted = [self._passes.outputs(number) for number in range(len(batches))]

    def keep_below(self, position: int) -> None:
        """Compute the layers below this position no more."""
        self._passes.keep_below(layers_of(self._model)[:position])

    def loss(self) -> float:
        """Compute the mean distance over all rows."""
        distances, rows = [], []
        for number, (batch, wanted) in enumerate(zip(self._batches, self._wanted, strict=True)):
            distances.append(self._context.divergence(batch, self._passes.outputs(number), wanted))
            rows.append(len(next(iter(batch.values()))))
        return max(0.0, float(np.average(distances, weights=rows)))

    def without(self, position: int) -> float | None:
        """Compute the loss without a layer; None: it can't be left out."""
        if not self._can_drop:
            return None
        with without_layer(self._model, position):
            return self.loss()


def _widths(neurons: int, align: int) -> list[int]:
    return sorted({*range(0, neurons, align), neurons})


def _nested(
    passes: FromBelow,
    batches: int,
    residual: nn.Module,
    linear: nn.Linear,
    columns: IntArray,
    strength: float,
    times: int,
) -> NestedRidge | None:
    """Prepare to solve a projection for the first of its columns, behind its bias; None: it has no weights."""
    size = gram_size(linear)
    if not size:
        return None
    gram = torch.zeros(size, size, dtype=torch.float64)
    for number in range(batches):
        inputs = with_ones(passes.inputs(number, residual, linear, times)[1], linear)
        gram.add_(inputs.T @ inputs)  # one batch is summed in fp32, all batches in fp64
    weights, order = linear.weight.detach().T.double(), torch.from_numpy(columns)
    if linear.bias is not None:
        weights = torch.cat([weights, linear.bias.detach()[None].double()])
        order = torch.cat([torch.tensor([size - 1]), order])
    return NestedRidge(gram[order][:, order], weights[order], strength)


@contextmanager
def _solved(linear: nn.Linear, columns: IntArray, ridges: NestedRidge | None) -> Iterator[None]:
    """Let a projection read only some columns inside the block, with weights that make up for the others."""
    before = [parameter.detach().clone() for parameter in linear.parameters()]
    try:
        with torch.no_grad():
            linear.weight.zero_()
            if ridges is not None:
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


def _never_less(losses: Sequence[float]) -> tuple[float, ...]:
    """Bring losses by size to the nearest that never grow with the size. The last one is 0, and stays so."""
    return tuple(isotonic_regression(losses, increasing=False).x.tolist())
