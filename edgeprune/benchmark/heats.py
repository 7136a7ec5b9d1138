"""Search for the fastest variant in heats: each is one race, and the winner goes into the next.

It is a local search. The first heat finds an incumbent; a later heat races the incumbent against its neighbours, which
differ from it in one thing. The search ends when the incumbent wins again, or after so many heats.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from edgeprune.base.errors import TargetError
from edgeprune.benchmark.race import Candidate, RaceResult, RaceRow, Samples, VariantT, race
from edgeprune.profiles.pipeline import BLOCK, RaceConfig

__all__ = ["Timer", "local_search", "run_heat"]


class Timer(Protocol[VariantT]):
    """Says of variants whether they run on a target, and how long they take there."""

    def refused(self, variants: Sequence[VariantT]) -> Mapping[VariantT, str]:
        """Say why the target refuses a variant, for each that it refuses."""
        ...

    def measure(self, variants: Sequence[VariantT], processes: int, samples: int) -> Samples[VariantT]:
        """Time variants, see `race.Measure`."""
        ...


def run_heat(
    candidates: Sequence[Candidate[VariantT]], timer: Timer[VariantT], config: RaceConfig
) -> RaceResult[VariantT]:
    """Race the candidates that the target doesn't refuse.

    Args:
        candidates: One at least, each of another variant.
        timer: Asks the target.
        config: How many processes and samples.

    Returns:
        The winner, and a row for each candidate, the refused ones last.

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
    """Yield heats in which the winner so far meets its neighbours; the last one's winner is the search's.

    A variant that lost isn't timed again.

    Args:
        first: The heat before.
        others: What the second heat's incumbent meets beside its neighbours.
        neighbours: The variants that differ in one thing.
        heat: Races the incumbent, which comes first, against others; it may have none.
        most: The most heats to run.
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
