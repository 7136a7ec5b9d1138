"""Find the variant of an fp32 graph that is fastest on a target. No artifact is needed: the caller hands over the graph.

The first heat races sets of exact rewrites in the target's precision, each with all of ONNX Runtime's own fusions and
without the fusion that is often slower. The second heat races the winner against other precisions and against its
neighbours. A neighbour lacks one of the rewrites, or has another session option. While a heat has a new winner, the
winner meets its own neighbours in the next heat, for a few heats at most. All variants take turns on the same inputs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from edgeprune.benchmark.heats import local_search, run_heat
from edgeprune.benchmark.race import Candidate, RaceResult, RaceRow
from edgeprune.benchmark.variant_timer import VariantTimer
from edgeprune.devices import Runner
from edgeprune.graph.quantization import Feed
from edgeprune.graph.references import Reference
from edgeprune.graph.variants import GraphCache, first_variants, neighbours, other_precisions, rewrite_sets
from edgeprune.profiles.pipeline import RaceConfig
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.target import Target
from edgeprune.profiles.variant import RewriteName, RewriteRules, Variant

__all__ = ["MOST_HEATS", "SAMPLES", "Entrant", "Found", "find_variant"]

SAMPLES = "samples.jsonl"
"""The file in which a race keeps every line that the device said."""

MOST_HEATS = 5
"""The largest number of heats. Most often the third or the fourth heat has no new winner."""


@dataclass(frozen=True)
class Entrant:
    """Hold an fp32 graph whose variants race, and the rows that they are checked and timed on."""

    graph: Path
    reader: Path
    """The folder of the reader, which a package holds beside the graph."""
    references: Sequence[Reference]
    """Batches, and what PyTorch computed for them."""
    tolerance: float
    """Largest relative difference of a rewritten graph's outputs from PyTorch's."""
    calibration: Sequence[Feed]
    """Inputs of real rows, which int8-static is calibrated on."""
    evaluation: Sequence[Feed]
    """Rows on which the outputs of precisions are compared."""
    batches: Sequence[JsonValue]
    """Batches that are timed, as the agent reads them. Like all of these rows they are not of the test split."""


@dataclass(frozen=True)
class Found:
    """Hold the verdict of a race."""

    winner: Variant
    rows: list[RaceRow]
    """A row for each variant, from the last heat that it was in. Variants that weren't timed come last."""
    dropped: tuple[str, ...]
    """A sentence for every rewrite that was left out."""


def find_variant(
    entrant: Entrant,
    target: Target,
    rules: RewriteRules,
    *,
    config: RaceConfig,
    runner: Runner,
    folder: Path,
    progress: Callable[[int, int, str], None],
    most_heats: int = MOST_HEATS,
) -> Found:
    """Race the variants of a graph on a target.

    Args:
        entrant: The graph and its rows.
        target: The target's profile. Its precision, runtime and size budget are read. Another precision that would make
            the package larger than the budget isn't raced.
        rules: Which rewrites every variant must have, and whether one may do without a mask.
        config: How many processes and samples are taken.
        runner: How the target is reached.
        folder: Where `samples.jsonl` is written; the graphs are made there and deleted again.
        progress: A function that is called with (done, total, unit).
        most_heats: The largest number of heats. After the first one, no other precision and no neighbour has raced.

    Raises:
        TargetError: The target refuses every variant.
    """
    settings, threads = target.precision_settings, target.runtime.threads
    sets = rewrite_sets(rules)
    steps = len(sets) + most_heats
    with GraphCache(
        entrant.graph, folder / "graphs", entrant.references, entrant.tolerance, entrant.calibration
    ) as graphs:
        timer = VariantTimer(
            runner,
            provider=target.runtime.provider,
            batches=entrant.batches,
            path=graphs.path,
            samples_file=folder / SAMPLES,
        )
        heat = partial(_heat, timer=timer, settings=settings, config=config)

        # The first heat: sets of rewrites, with a fusion and without.
        variants: list[Variant] = []
        for done, rewrites in enumerate(sets, start=1):
            variants += first_variants(graphs.make(rewrites, settings), settings, threads=threads)
            progress(done, steps, "steps")
        first = heat(list(dict.fromkeys(variants)))
        progress(len(sets) + 1, steps, "steps")

        # Later heats: the winner against other precisions and its neighbours.
        heats, precisions, untimed = [first], list[Variant](), dict[Variant, str]()
        if most_heats > 1:
            precisions, untimed = other_precisions(
                first.winner, graphs, entrant.evaluation, reader=entrant.reader, limit_bytes=target.size_limit_bytes
            )
        spinning = target.device.arch != "wasm32"
        beside = partial(neighbours, graphs=graphs, rules=rules, threads=threads, spinning=spinning)
        for found in local_search(first, precisions, neighbours=beside, heat=heat, most=most_heats - 1):
            heats.append(found)
            progress(len(sets) + len(heats), steps, "steps")
        progress(steps, steps, "steps")
    return Found(heats[-1].winner, _table(heats, untimed, graphs.errors), tuple(graphs.dropped))


def _heat(
    variants: Sequence[Variant], *, timer: VariantTimer, settings: PrecisionSettings, config: RaceConfig
) -> RaceResult[Variant]:
    """Race variants. Of equally fast ones the target's own precision wins, then the simpler, then fewer threads."""
    candidates = [
        Candidate(one, one.words, (one.precision != settings, one.complexity, one.raced_session.threads))
        for one in variants
    ]
    return run_heat(candidates, timer, config)


def _table(
    heats: Sequence[RaceResult[Variant]],
    untimed: Mapping[Variant, str],
    errors: Mapping[tuple[RewriteName, ...], float],
) -> list[RaceRow]:
    """List a row for each variant, from the last heat that it was in. Variants that weren't timed come last.

    Args:
        heats: The heats, in their order.
        untimed: The variants that weren't timed, and why.
        errors: The largest difference of a graph's outputs from PyTorch's, by the graph's rewrites.
    """
    rows = {variant: row for heat in heats for variant, row in heat.rows.items()}
    raced = [row.model_copy(update={"max_error": errors[variant.rewrites]}) for variant, row in rows.items()]
    return raced + [RaceRow.untimed(variant.words, f"not timed: {why}") for variant, why in untimed.items()]
