"""Search for the fastest variant in heats: each heat is one race, and its winner goes into the next heat.

This is a local search. The first heat finds an incumbent. Each later heat races the incumbent against its neighbours,
which differ from it in one thing. The search ends when the incumbent wins again, or after a given number of heats.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from edgeprune.base.errors import TargetError
from edgeprune.benchmark.race import Candidate, RaceResult, RaceRow, Samples, VariantT, race
from edgeprune.profiles.pipeline import BLOCK, RaceConfig

__all__ = ["Timer", "local_search", "run_heat"]


class Timer(Protocol[VariantT]):
    """Tell which variants run on a target, and how long they take there."""

    def refused(self, variants: Sequence[VariantT]) -> Mapping[VariantT, str]:
        """Name the variants that the target refuses, and say why it refuses each one."""
        ...

    def measure(self, variants: Sequence[VariantT], processes: int, samples: int) -> Samples[VariantT]:
        """Time variants. See `race.Measure`."""
        ...


def run_heat(
    candidates: Sequence[Candidate[VariantT]], timer: Timer[VariantT], config: RaceConfig
) -> RaceResult[VariantT]:
    """Race the candidates that the target doesn't refuse.

    Args:
        candidates: At least one candidate, each with another variant.
        timer: What asks the target.
        config: How many processes and samples are taken.

    Returns:
        The winner, and a row for each candidate. Refused candidates come last.

    Raises:
        TargetError: The target refuses every candidate.
    """
    refused = timer.refused([one.variant for one in candidates])
    accepted = [one for one in candidates if one.variant not in refused]
    if not accepted:
        raise TargetError(f"the target refuses every graph: {next(iter(refused.values()))}")
    found = race(accepted, timer.measure, processes=config.processes, samples=config.samples, block=BLOCK)
    lost = {
        one.variant: RaceRow.untimed(one.name, f"the target refuses it: {refused[one.variant]}")
        for one in candidates
        if one.variant in refused
    }
    return RaceResult(found.winner, {**found.rows, **lost})


def local_search(
    first: RaceResult[VariantT],
    others: Sequence[VariantT],
    *,
    neighbours: Callable[[VariantT], Sequence[VariantT]],
    heat: Callable[[Sequence[VariantT]], RaceResult[VariantT]],
    most: int,
) -> Iterator[RaceResult[VariantT]]:
    """Yield heats in which the winner so far meets its neighbours.

    The winner of the last heat is the winner of the search. A variant that lost isn't timed again.

    Args:
        first: The first heat, which has been run already.
        others: Variants that the incumbent meets in the second heat, in addition to its neighbours.
        neighbours: Gives the variants that differ from a variant in one thing.
        heat: Races the incumbent against others. The incumbent comes first in the list, and may be alone.
        most: The largest number of heats to run.
    """
    incumbent, raced = first.winner, set(first.rows)
    rivals = others
    for _ in range(most):
        rivals = [*rivals, *neighbours(incumbent)]
        found = heat([incumbent, *(one for one in dict.fromkeys(rivals) if one not in raced)])
        yield found
        if found.winner == incumbent:
            return
        incumbent, raced, rivals = found.winner, raced | set(found.rows), []
