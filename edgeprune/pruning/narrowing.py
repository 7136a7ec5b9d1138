"""Estimate what a model loses at smaller hidden sizes, as `losses` does for the sizes of layers: after repair.

A copy of the model keeps its most important dimensions, by mask Fisher scores. What reads and writes the hidden states is
solved again, so that the states come closest to the model's present ones, and the outputs are compared with the model's
present outputs on other rows.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
from transformers import PreTrainedModel

from edgeprune.profiles.steps import ReconstructStep, StructuredStep
from edgeprune.pruning.context import Context, Pruned
from edgeprune.pruning.importance import Batch
from edgeprune.pruning.loss_table import NarrowingLoss
from edgeprune.pruning.reconstruct import Teacher, solve_towards
from edgeprune.pruning.stream import narrow_to, score_stream

__all__ = ["estimate_narrowing"]


def estimate_narrowing(
    pruned: Pruned,
    context: Context,
    sizes: Sequence[int],
    *,
    samples: int,
    reconstruct: ReconstructStep,
    judge: Callable[[PreTrainedModel], float],
) -> tuple[tuple[NarrowingLoss, ...], tuple[int, ...]]:
    """Estimate the loss of each hidden size.

    Args:
        pruned: The model, which is left as it is.
        context: The task and the data.
        sizes: Hidden sizes below the present one.
        samples: How many training rows the scores are computed on.
        reconstruct: How projections are solved again.
        judge: Measures how far a model's outputs are from the present ones.

    Returns:
        The losses, and the dimensions that are left, in the dense model's numbers, the most important first.
    """
    scores = score_stream(StructuredStep(method="structured", importance="fisher", samples=samples), pruned, context)
    before = pruned.record.hidden or range(len(scores))
    dimensions = tuple(before[position] for position in np.argsort(-scores, kind="stable"))
    teacher, losses = Teacher(pruned.model, pruned.record, _unchanged), []
    for size in sizes:
        narrowed = Pruned(deepcopy(pruned.model), pruned.record, pruned.reader)
        narrow_to(sorted(dimensions[:size]), narrowed)
        solve_towards(teacher, reconstruct, narrowed, context)
        losses.append(NarrowingLoss(hidden=size, loss=judge(narrowed.model)))
    return tuple(losses), dimensions


def _unchanged(batch: Batch) -> Batch:
    return batch
