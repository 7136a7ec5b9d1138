"""Find the fastest of several candidates: successive halving, then a final of the last few in fresh processes.

Everything is measured through a callback, so that a verdict is a function of samples alone. The first round takes few
samples of many candidates and leaves out the slower half. Each next round takes more samples of fewer candidates
(Jamieson and Talwalkar, https://arxiv.org/abs/1502.07943).

A slower candidate stays if it may be as fast as the fastest one, and if everything that seems faster is more complex.
The final selects the candidates that can't be told from the fastest one, and the least complex of these wins. So a more
complex twin never wins, whatever the number and the order of the candidates.
"""

import math
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeprune.base.strict_yaml import Frozen
from edgeprune.benchmark.statistics import ratio_interval

__all__ = ["Candidate", "Measure", "RaceResult", "RaceRow", "Samples", "VariantT", "race"]

VariantT = TypeVar("VariantT", bound=Hashable)

Samples = Mapping[VariantT, Sequence[Sequence[float]]]
"""Samples in ms by variant, one sequence for each process."""
Measure = Callable[[Sequence[VariantT], int, int], Samples[VariantT]]
"""A function that times variants by turns on the same inputs: (variants, processes, samples in each process) →
samples."""

_FINALISTS = 3
_NOISE = 0.01
"""Smallest share that counts as a gain. A smaller gain would change from day to day."""
_TIE_TOLERANCE = 0.02
"""Largest share by which a tied variant may seem slower, even if there are too few turns to be sure that it is."""


@dataclass(frozen=True)
class Candidate(Generic[VariantT]):
    """Hold a variant that races, and what decides between variants that are equally fast."""

    variant: VariantT
    """The variant that is timed. It is the candidate's identity in the race."""
    name: str
    """The name that people read. Of two that are equally fast and equally complex, the first in the alphabet wins."""
    complexity: tuple[int, ...]
    """How complex the variant is; the first number counts most. Of two that are equally fast, the less complex one
    wins."""


class RaceRow(Frozen):
    """Report how one variant did."""

    variant: str
    """The variant's name."""
    p50_ms: float | None
    """Median of the samples that were taken last; None: the variant was not timed, and `why` says why not."""
    ratio: float | None
    """The variant's time divided by the time of the variant that `why` names, by turns on the same inputs. The winner's
    is 1."""
    ratio_interval: tuple[float, float] | None
    """95% interval of `ratio`; None: too few turns for an interval."""
    samples: int
    """How many samples of the variant were taken last."""
    max_error: float | None = None
    """Largest difference of the variant's outputs from PyTorch's, before any quantization."""
    why: str
    """Why the variant won, lost or was not timed."""

    @classmethod
    def untimed(cls, name: str, why: str) -> "RaceRow":
        """Report a variant that was not timed, and why."""
        return cls(variant=name, p50_ms=None, ratio=None, ratio_interval=None, samples=0, why=why)


@dataclass(frozen=True)
class RaceResult(Generic[VariantT]):
    """Hold the verdict of a race."""

    winner: VariantT
    rows: Mapping[VariantT, RaceRow]
    """One row for each variant."""


def race(
    candidates: Sequence[Candidate[VariantT]],
    measure: Measure[VariantT],
    *,
    processes: int,
    samples: int,
    block: int,
) -> RaceResult[VariantT]:
    """Find the fastest candidate.

    Args:
        candidates: At least one candidate, each with another variant.
        measure: The function that takes the samples.
        processes: How many fresh processes the final has.
        samples: How many samples of each candidate are taken in the single process of the first round, and in each
            process of the final.
        block: Samples in one turn.

    Returns:
        The winner, and rows in the order of the candidates.
    """
    finalists, rows = _halve(candidates, measure, samples=samples, block=block)
    found = measure([one.variant for one in finalists], processes, samples)
    ties = _ties(_ranked(finalists, found), found, block, most=1 + _TIE_TOLERANCE)
    winner = min(ties, key=lambda one: (one.complexity, one.name))
    for one in finalists:
        against = _compare(one, winner, found, block)
        rows[one.variant] = _row(one, found, against, _why(one, winner, against.ratio, ties))
    return RaceResult(winner.variant, {one.variant: rows[one.variant] for one in candidates})


def _halve(
    candidates: Sequence[Candidate[VariantT]], measure: Measure[VariantT], *, samples: int, block: int
) -> tuple[list[Candidate[VariantT]], dict[VariantT, RaceRow]]:
    """Leave out the slower half of the candidates until a few are left. Return the few, and rows of the others."""
    left, round_number = list(candidates), 0
    rows: dict[VariantT, RaceRow] = {}
    while len(left) > _FINALISTS:
        round_number += 1
        found = measure([one.variant for one in left], 1, samples * round_number)
        ranked = _ranked(left, found)
        simplest = _pareto_front(_ties(ranked, found, block))
        kept = {one.variant for one in [*ranked[: max(_FINALISTS, len(left) // 2)], *simplest]}
        if len(kept) == len(left):
            break
        for one in left:
            if one.variant not in kept:
                against = _compare(one, ranked[0], found, block)
                why = f"left out after round {round_number}: {_percent(against.ratio)} than {ranked[0].name}"
                rows[one.variant] = _row(one, found, against, why)
        left = [one for one in left if one.variant in kept]
    return left, rows


def _ranked(candidates: Sequence[Candidate[VariantT]], found: Samples[VariantT]) -> list[Candidate[VariantT]]:
    """Sort candidates by their median time, the fastest first."""
    return sorted(candidates, key=lambda one: (_median(found[one.variant]), one.complexity, one.name))


def _ties(
    ranked: Sequence[Candidate[VariantT]], found: Samples[VariantT], block: int, *, most: float = math.inf
) -> list[Candidate[VariantT]]:
    """Select candidates that may be as fast as the first one, and that seem to take at most `most` times as long."""

    def may_be_as_fast(one: Candidate[VariantT]) -> bool:
        against = _compare(one, ranked[0], found, block)
        return against.ratio <= most and (against.interval is None or against.interval[0] <= 1 + _NOISE)

    return [one for one in ranked if may_be_as_fast(one)]


def _pareto_front(ranked: Sequence[Candidate[VariantT]]) -> list[Candidate[VariantT]]:
    """Select the candidates that are simpler than every faster one. Candidates are in order, the fastest first."""
    return [
        one for place, one in enumerate(ranked) if all(one.complexity < other.complexity for other in ranked[:place])
    ]


@dataclass(frozen=True)
class _Comparison:
    """Compare the time of one candidate with the time of another."""

    ratio: float
    """The first one's time divided by the other one's."""
    interval: tuple[float, float] | None
    """95% interval of `ratio`; None: too few turns for an interval."""


def _compare(one: Candidate[VariantT], other: Candidate[VariantT], found: Samples[VariantT], block: int) -> _Comparison:
    return _Comparison(*ratio_interval(found[one.variant], found[other.variant], block=block))


def _row(one: Candidate[VariantT], found: Samples[VariantT], against: _Comparison, why: str) -> RaceRow:
    taken = found[one.variant]
    return RaceRow(
        variant=one.name,
        p50_ms=_median(taken),
        ratio=against.ratio,
        ratio_interval=against.interval,
        samples=sum(map(len, taken)),
        why=why,
    )


def _why(
    one: Candidate[VariantT], winner: Candidate[VariantT], ratio: float, ties: Sequence[Candidate[VariantT]]
) -> str:
    """Say why a finalist won or lost."""
    if one is winner:
        return "won" if len(ties) == 1 else "won: the plainest of those that can't be told apart"
    if one in ties:
        return f"can't be told from {winner.name}, which is plainer (by precision, by what it changes, by name)"
    return f"{_percent(ratio)} than {winner.name}"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):.1f}% slower" if ratio >= 1 else f"{100 * (1 - ratio):.1f}% faster"


def _median(samples_ms: Sequence[Sequence[float]]) -> float:
    return statistics.median(sample for process in samples_ms for sample in process)
