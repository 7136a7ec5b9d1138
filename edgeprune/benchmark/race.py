"""Find the fastest of several candidates: successive halving, then a final of the last few in fresh processes.

Everything is measured through a callback, so that a verdict is a function of samples alone. A round takes few samples of
many candidates and leaves out the slower half, the next takes more of fewer (Jamieson and Talwalkar,
https://arxiv.org/abs/1502.07943). A candidate stays in spite of its time if it may be as fast as the fastest, and if
everything that seems faster is more complex. The least complex of those that the final can't tell from the fastest wins,
so a twin never does, however many there are and whatever the order.
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
"""Variant to its samples, in ms, one sequence a process."""
Measure = Callable[[Sequence[VariantT], int, int], Samples[VariantT]]
"""Times variants by turns on the same inputs: (variants, processes, samples of each in each process) → samples."""

_FINALISTS = 3
_NOISE = 0.01
"""A gain below this share is none: it would change with the day."""
_TIE_TOLERANCE = 0.02
"""A variant that seems slower by more is no tie, even where few turns can't be sure of it."""


@dataclass(frozen=True)
class Candidate(Generic[VariantT]):
    """Hold a variant that races, and what decides between it and others that are equally fast."""

    variant: VariantT
    """What is timed; its identity in the race."""
    name: str
    """For people; the first in the alphabet wins where two are equally fast and equally complex."""
    complexity: tuple[int, ...]
    """The lower wins where two are equally fast; the first number counts most."""


class RaceRow(Frozen):
    """Report how one variant did."""

    variant: str
    """Its name."""
    p50_ms: float | None
    """Median of the last samples taken; None: it was not timed, `why` says for which reason."""
    ratio: float | None
    """Its time through that of the variant that `why` names (the winner's own: 1), of turns on the same inputs."""
    ratio_interval: tuple[float, float] | None
    """95% interval of `ratio`; None: too few turns for one."""
    samples: int
    max_error: float | None = None
    """Largest difference of its outputs from PyTorch's, before any quantization."""
    why: str
    """Why it won or lost."""

    @classmethod
    def untimed(cls, name: str, why: str) -> "RaceRow":
        """Report a variant that was not timed, and why."""
        return cls(variant=name, p50_ms=None, ratio=None, ratio_interval=None, samples=0, why=why)


@dataclass(frozen=True)
class RaceResult(Generic[VariantT]):
    """Hold the verdict of a race."""

    winner: VariantT
    rows: Mapping[VariantT, RaceRow]
    """One for each variant."""


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
        candidates: One at least, each of another variant.
        measure: Takes the samples.
        processes: Fresh processes of the final.
        samples: Of each candidate in the first round's one process, and in each process of the final.
        block: Samples in one turn.

    Returns:
        The winner, and rows in the candidates' order.
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
    """Leave out the slower half of the candidates until a few are left; return these, and rows of the others."""
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
    """Sort candidates, the fastest first."""
    return sorted(candidates, key=lambda one: (_median(found[one.variant]), one.complexity, one.name))


def _ties(
    ranked: Sequence[Candidate[VariantT]], found: Samples[VariantT], block: int, *, most: float = math.inf
) -> list[Candidate[VariantT]]:
    """Select those that may be as fast as the first, and seem to take at most `most` times as long; in their order."""

    def may_be_as_fast(one: Candidate[VariantT]) -> bool:
        against = _compare(one, ranked[0], found, block)
        return against.ratio <= most and (against.interval is None or against.interval[0] <= 1 + _NOISE)

    return [one for one in ranked if may_be_as_fast(one)]


def _pareto_front(ranked: Sequence[Candidate[VariantT]]) -> list[Candidate[VariantT]]:
    """Select, of candidates with the fastest first, those that are simpler than everything faster."""
    return [
        one for place, one in enumerate(ranked) if all(one.complexity < other.complexity for other in ranked[:place])
    ]


@dataclass(frozen=True)
class _Comparison:
    """Hold how many times as long as another a candidate takes, and the 95% interval; None: too few turns for one."""

    ratio: float
    interval: tuple[float, float] | None


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
