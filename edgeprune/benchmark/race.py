"""Which of several variants is fastest: successive halving, then the last few by turns in fresh processes.

Everything is measured through a callback, so that a verdict is a function of samples alone. A rung takes few samples of
many entrants and leaves out the slower half, the next takes more of fewer (Jamieson and Talwalkar,
https://arxiv.org/abs/1502.07943); but not one that may be as fast as the fastest and has nothing faster before it that is
at most as complex. Of those that the final can't tell from the fastest the least complex wins, so a twin never does,
however many there are and whatever the order.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgeprune.base.strict_yaml import Frozen
from edgeprune.benchmark.statistics import ratio_interval

__all__ = ["Entrant", "Measure", "RaceRow", "race"]

Samples = Mapping[str, Sequence[Sequence[float]]]
"""Entrant to its samples, in ms, one sequence a process."""
Measure = Callable[[Sequence[str], int, int], Samples]
"""Times entrants by turns on the same inputs: (names, processes, samples of each in each process) → samples."""

_FINALISTS = 3
_NOISE = 0.01
"""A gain below this share is none: it would change with the day."""
_TIE = 0.02
"""What seems slower by more is none the better for being simpler, even where few turns can't be sure of it."""


@dataclass(frozen=True)
class Entrant:
    """One variant."""

    name: str
    complexity: tuple[int, ...]
    """The lower is taken where two are equally fast; the first number counts most."""


class RaceRow(Frozen):
    """How one variant did."""

    variant: str
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


def race(
    entrants: Sequence[Entrant], measure: Measure, *, processes: int, samples: int, block: int
) -> tuple[str, list[RaceRow]]:
    """The winner's name, and a row an entrant in their order.

    Args:
        entrants: One at least.
        measure: Takes the samples.
        processes: Fresh processes of the final.
        samples: Of each entrant in the first rung's one process, and in each process of the final.
        block: Samples in one turn.
    """
    left, rows, rung = list(entrants), {}, 0
    while len(left) > _FINALISTS:
        rung += 1
        found = measure([one.name for one in left], 1, samples * rung)
        ranked = _ranked(left, found)
        ties = _ties(ranked, found, block)
        kept = {one.name for one in [*ranked[: max(_FINALISTS, len(left) // 2)], *_unbeaten(ties)]}
        if len(kept) == len(left):
            break
        for one in left:
            if one.name not in kept:
                row = _row(one.name, ranked[0].name, found, block)
                why = f"left out after round {rung}: {_percent(row)} than {ranked[0].name}"
                rows[one.name] = row.model_copy(update={"why": why})
        left = [one for one in left if one.name in kept]
    found = measure([one.name for one in left], processes, samples)
    ties = _ties(_ranked(left, found), found, block, most=1 + _TIE)
    winner = min(ties, key=lambda one: (one.complexity, one.name))
    for one in left:
        row = _row(one.name, winner.name, found, block)
        why = _why(one, winner, row, len(ties), tied=one in ties)
        rows[one.name] = row.model_copy(update={"why": why})
    return winner.name, [rows[one.name] for one in entrants]


def _ranked(entrants: Sequence[Entrant], found: Samples) -> list[Entrant]:
    """The fastest first."""
    return sorted(entrants, key=lambda one: (_median(found[one.name]), one.complexity, one.name))


def _ties(ranked: Sequence[Entrant], found: Samples, block: int, *, most: float = math.inf) -> list[Entrant]:
    """Those that may be as fast as the first, and seem to take at most `most` times as long; in their order."""

    def may_be(one: Entrant) -> bool:
        ratio, interval = ratio_interval(found[one.name], found[ranked[0].name], block=block)
        return ratio <= most and (interval is None or interval[0] <= 1 + _NOISE)

    return [one for one in ranked if may_be(one)]


def _unbeaten(ranked: Sequence[Entrant]) -> list[Entrant]:
    """Those before which, the fastest first, none is at most as complex."""
    return [
        one for place, one in enumerate(ranked) if all(one.complexity < other.complexity for other in ranked[:place])
    ]


def _row(name: str, other: str, found: Samples, block: int) -> RaceRow:
    """How one did against another, without a reason yet."""
    ratio, interval = ratio_interval(found[name], found[other], block=block)
    return RaceRow(
        variant=name,
        p50_ms=_median(found[name]),
        ratio=ratio,
        ratio_interval=interval,
        samples=sum(map(len, found[name])),
        why="",
    )


def _why(one: Entrant, winner: Entrant, row: RaceRow, ties: int, *, tied: bool) -> str:
    if one is winner:
        return "won" if ties == 1 else "won: the plainest of those that can't be told apart"
    if tied:
        return f"can't be told from {winner.name}, which is plainer (by precision, by what it changes, by name)"
    return f"{_percent(row)} than {winner.name}"


def _percent(row: RaceRow) -> str:
    assert row.ratio is not None  # noqa: S101 (it was timed)
    return f"{100 * (row.ratio - 1):.1f}% slower" if row.ratio >= 1 else f"{100 * (1 - row.ratio):.1f}% faster"


def _median(samples_ms: Sequence[Sequence[float]]) -> float:
    return statistics.median(sample for process in samples_ms for sample in process)
