"""Decide by scores how many units each layer keeps, and which.

`uniform` keeps the same fraction in every layer. `global` ranks the heads of all layers together, and likewise the
neurons of all layers. `multiply_adds` ranks heads and neurons together, by score per multiply-add. Scores are compared
as they are. FFN widths are whole multiples of `align`, the width of the fast kernels' tiles.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["FloatArray", "keep_by_cost", "keep_counts", "strongest"]

FloatArray = npt.NDArray[np.float64]

_ROUNDING = 1 + 1e-9
"""How much more than a budget costs that add up to it may be, because sums of fractions are rounded."""


def keep_counts(
    scores: Sequence[FloatArray],
    dense_widths: Sequence[int],
    keep: float,
    *,
    allocation: str,
    align: int,
    allow_empty: bool = False,
) -> list[int]:
    """Compute how many units each layer keeps.

    Args:
        scores: By layer, the scores of its units, [units left].
        dense_widths: By layer, the number of its units in the dense model; `keep` is a fraction of these.
        keep: Fraction of the dense model's units to keep, in (0, 1].
        allocation: `uniform` or `global`.
        align: Counts are multiples of this number. A layer that has fewer units left keeps them all.
        allow_empty: Whether `global` may take a layer's last units.

    Returns:
        By layer, a count: at least `align` (0 with `allow_empty`), and at most the units that are left.
    """
    left = [len(values) for values in scores]
    if allocation == "uniform":
        wanted = [keep * width for width in dense_widths]
    else:
        wanted = _global_shares(scores, round(keep * sum(dense_widths)))
    least = 0 if allow_empty and allocation == "global" else align
    return _aligned(wanted, left, align, least)


def keep_by_cost(
    heads: Sequence[FloatArray],
    neurons: Sequence[FloatArray],
    *,
    costs: tuple[float, float],
    budget: float,
    align: int,
    allow_empty: bool,
) -> tuple[list[int], list[int]]:
    """Compute how many heads and neurons each layer keeps, so that the kept units score highest within a budget.

    The search is greedy. Kwon et al., https://arxiv.org/abs/2204.09656, search masks under a FLOPs constraint in the
    same way.

    Args:
        heads: By layer, the scores of its heads, [heads left].
        neurons: By layer, the scores of its neurons, [neurons left]. Neurons are kept or removed in groups of `align`.
        costs: The cost of a head, and the cost of a neuron.
        budget: The most that all kept units may cost together, in the unit of `costs`.
        align: The number of neurons in a group; a layer's last group may be smaller.
        allow_empty: Whether a layer may lose its last head or group of neurons.

    Returns:
        By layer, the number of heads; and by layer, the number of neurons.
    """
    groups = []
    for kind, (layers, size, cost) in enumerate(((heads, 1, costs[0]), (neurons, align, costs[1]))):
        for layer, scores in enumerate(layers):
            ordered, worth = -np.sort(-scores), np.inf
            for first in range(0, len(scores), size):
                members = ordered[first : first + size]
                worth = min(worth, float(members.mean()) / cost)  # a mean of equal scores may be off by a bit
                needed = first == 0 and not allow_empty
                groups.append((not needed, -worth, kind, layer, first, len(members), cost))
    counts = ([0] * len(heads), [0] * len(neurons))
    spent, full = 0.0, set[tuple[int, int]]()
    for optional, _worth, kind, layer, _first, size, cost in sorted(groups):
        # If a layer's group is above the budget, its later, smaller group is left out too: the width must stay aligned.
        if optional and (spent + size * cost > budget * _ROUNDING or (kind, layer) in full):
            full.add((kind, layer))
            continue
        spent += size * cost
        counts[kind][layer] += size
    return counts


def strongest(scores: FloatArray, count: int) -> list[int]:
    """Return the positions of the `count` highest scores, ascending. Of equal scores, the earlier position wins."""
    order = np.argsort(-scores, kind="stable")[:count]
    return sorted(int(position) for position in order)


def _global_shares(scores: Sequence[FloatArray], total: int) -> list[float]:
    layer_of = np.concatenate([np.full(len(values), index) for index, values in enumerate(scores)])
    order = np.argsort(-np.concatenate(scores), kind="stable")[:total]
    return [float((layer_of[order] == index).sum()) for index in range(len(scores))]


def _aligned(wanted: Sequence[float], left: Sequence[int], align: int, least: int) -> list[int]:
    """Round counts to multiples of `align` so that their sum is nearest to the wanted sum, by largest remainders."""
    counts = [
        min(have, max(min(least, have), int(want // align) * align)) for want, have in zip(wanted, left, strict=True)
    ]
    by_remainder = sorted(range(len(wanted)), key=lambda index: (counts[index] - wanted[index], index))
    for index in by_remainder:
        step = min(align, left[index] - counts[index])
        if step > 0 and sum(counts) + step / 2 <= sum(wanted):
            counts[index] += step
    # Layers held at their minimum took more than their share: layers that are furthest above their own give it back.
    while sum(counts) - align / 2 > sum(wanted):
        givers = [index for index in by_remainder if counts[index] >= least + align]
        if not givers:
            break
        counts[max(givers, key=lambda index: counts[index] - wanted[index])] -= align
    return counts
