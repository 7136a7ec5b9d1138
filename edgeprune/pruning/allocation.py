"""From scores to what is kept: how many units each layer keeps, and which.

`uniform` keeps the same fraction in every layer, `global` ranks all layers' heads together and all their neurons,
`multiply_adds` ranks heads and neurons together by score per multiply-add; scores are compared as they are. FFN widths
are whole multiples of `align`, the width of the fast kernels' tiles.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["FloatArray", "keep_by_cost", "keep_counts", "strongest"]

FloatArray = npt.NDArray[np.float64]


def keep_counts(
    scores: Sequence[FloatArray],
    dense_widths: Sequence[int],
    keep: float,
    *,
    allocation: str,
    align: int,
    allow_empty: bool = False,
) -> list[int]:
    """How many units each layer keeps.

    Args:
        scores: By layer, [units left].
        dense_widths: Units of each layer of the dense model; `keep` is a fraction of these.
        keep: Fraction of the dense model's units to keep, in (0, 1].
        allocation: `uniform` or `global`.
        align: Counts are multiples of this; a layer with fewer units left than that keeps them all.
        allow_empty: Whether `global` may take a layer's last units.

    Returns:
        A count a layer, at least one alignment step (0 with `allow_empty`) and at most what is left.
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
    """How many heads and neurons each layer keeps so that what is kept scores most within a budget, greedily.

    Kwon et al., https://arxiv.org/abs/2204.09656, search masks under a FLOPs constraint in the same way.

    Args:
        heads: Scores by layer, [heads left].
        neurons: Scores by layer, [neurons left]; they come and go in groups of `align`.
        costs: Of a head and of a neuron.
        budget: Of everything kept, in the unit of the costs.
        align: Neurons in a group; a layer's last group may be smaller.
        allow_empty: Whether a layer may lose its last head or group of neurons.
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
        # A layer that had no room for a group gets no later, smaller one: its width would not be aligned.
        if optional and (spent + size * cost > budget or (kind, layer) in full):
            full.add((kind, layer))
            continue
        spent += size * cost
        counts[kind][layer] += size
    return counts


def strongest(scores: FloatArray, count: int) -> list[int]:
    """Positions of the `count` highest scores, ascending; of equal scores the earlier position wins."""
    order = np.argsort(-scores, kind="stable")[:count]
    return sorted(int(position) for position in order)


def _global_shares(scores: Sequence[FloatArray], total: int) -> list[float]:
    layer_of = np.concatenate([np.full(len(values), index) for index, values in enumerate(scores)])
    order = np.argsort(-np.concatenate(scores), kind="stable")[:total]
    return [float((layer_of[order] == index).sum()) for index in range(len(scores))]


def _aligned(wanted: Sequence[float], left: Sequence[int], align: int, least: int) -> list[int]:
    """Round to multiples of `align` so that the sum stays nearest to the sum wanted (largest remainders first)."""
    counts = [
        min(have, max(min(least, have), int(want // align) * align)) for want, have in zip(wanted, left, strict=True)
    ]
    by_remainder = sorted(range(len(wanted)), key=lambda index: (counts[index] - wanted[index], index))
    for index in by_remainder:
        step = min(align, left[index] - counts[index])
        if step > 0 and sum(counts) + step / 2 <= sum(wanted):
            counts[index] += step
    # Layers held at their minimum took more than their share: the widest others, by what they wanted, give it back.
    while sum(counts) - align / 2 > sum(wanted):
        givers = [index for index in by_remainder if counts[index] >= least + align]
        if not givers:
            break
        counts[max(givers, key=lambda index: counts[index] - wanted[index])] -= align
    return counts
