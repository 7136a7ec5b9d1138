"""race: find the variant of an fp32 graph that is fastest on the target.

The first heat races sets of exact rewrites in the target's precision, each with all of ONNX Runtime's own fusions and
without the fusion that is often slower. The second heat races the winner against other precisions and against its
neighbours. A neighbour lacks one of the rewrites, or has another session option. While a heat has a new winner, the
winner meets its own neighbours in the next heat, for a few heats at most. Inputs come from the selection split, and all
variants take turns on the same inputs.

The stage writes `choice.json` (the verdict), `race.json` (a row for each variant: its time, its parity, and why it
lost) and `samples.jsonl`. The verdict holds no figures, because it enters the keys of the artifacts that are made by
it.

A race is a measurement that is made once for its inputs and then kept. What is shipped is a function of the export and
the verdict.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from pydantic import JsonValue, TypeAdapter

from edgeprune.base.events import Note
from edgeprune.benchmark.heats import local_search, run_heat
from edgeprune.benchmark.race import Candidate, RaceResult, RaceRow
from edgeprune.benchmark.variant_timer import VariantTimer
from edgeprune.devices import Runner
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.pipeline import RaceConfig
from edgeprune.profiles.target import Target
from edgeprune.profiles.variant import CHOICE, RewriteName, RewriteRules, Variant
from edgeprune.store.records import Artifact, StageMetrics

__all__ = ["Race", "read_race"]

_MOST_HEATS = 5
"""The largest number of heats. Most often the third or the fourth heat has no new winner."""

_ROWS = TypeAdapter(list[RaceRow])


class Race(Stage):
    """Find the fastest variant on the target.

    Args:
        config: The pipeline's `stages.race`.
        target: The target's profile. Its precision, runtime, workload and size budget are read. Another precision that
            would make the package larger than the budget isn't raced.
        rules: Which rewrites every variant must have, and whether one may do without a mask.
        tolerance: Largest relative difference of a rewritten graph's outputs from PyTorch's.
        runner: How the target is reached.
        place: The machine that the verdict holds for.
        round_number: The round of the graph's checkpoint.
    """

    name = "race"
    version = 4
    libraries = ("onnx", "onnx-ir", "onnxruntime")
    roles = ("dense", "onnx")
    produces = (CHOICE, "race.json", "samples.jsonl")
    verdict = CHOICE

    def __init__(
        self,
        config: RaceConfig,
        *,
        target: Target,
        rules: RewriteRules,
        tolerance: float,
        runner: Runner,
        place: JsonValue,
        round_number: int,
    ) -> None:
        self.round = round_number
        self._config = config
        self._rules = rules
        self._settings = target.precision_settings
        self._runtime = target.runtime
        self._spinning = target.device.arch != "wasm32"
        self._workload = target.workload
        self._size_limit_bytes = target.size_limit_bytes
        self._tolerance = tolerance
        self._runner = runner
        self._place = place

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "config": self._config.model_dump(mode="json"),
            "rules": self._rules.model_dump(mode="json"),
            "precision": self._settings.model_dump(mode="json"),
            "runtime": self._runtime.model_dump(mode="json"),
            "workload": self._workload.model_dump(mode="json", include={"batch_size", "lengths"}),
            "size_limit_bytes": self._size_limit_bytes,
            "tolerance": self._tolerance,
            "raced_on": self._place,
        }

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.benchmark.workload import batches_of
        from edgeprune.graph.calibration_rows import feeds_of
        from edgeprune.graph.references import REFERENCES, load_references
        from edgeprune.graph.variants import GraphCache, first_variants, neighbours, other_precisions, rewrite_sets
        from edgeprune.tasks.prepared import open_prepared

        onnx = work.parents["onnx"]
        prepared = open_prepared(work.parents["dense"], work.data, splits=("selection",), reader=onnx.file("reader"))
        selection, reader = prepared.splits["selection"], prepared.reader
        calibration, evaluation = feeds_of(selection, reader)
        batches, _ = batches_of(selection, reader, self._workload, self._config.samples, seed=work.seed)
        references = load_references(onnx.file(REFERENCES))

        sets = rewrite_sets(self._rules)
        steps = len(sets) + _MOST_HEATS
        with GraphCache(
            onnx.file("model.onnx"), work.folder / "graphs", references, self._tolerance, calibration
        ) as graphs:
            timer = VariantTimer(
                self._runner,
                provider=self._runtime.provider,
                batches=batches,
                path=graphs.path,
                samples_file=work.folder / "samples.jsonl",
            )
            heat = partial(self._heat, timer)

            # The first heat: sets of rewrites, with a fusion and without.
            variants: list[Variant] = []
            for done, rewrites in enumerate(sets, start=1):
                made = graphs.make(rewrites, self._settings)
                variants += first_variants(made, self._settings, threads=self._runtime.threads)
                work.progress(done, steps, "steps")
            first = heat(list(dict.fromkeys(variants)))
            work.progress(len(sets) + 1, steps, "steps")

            # Later heats: the winner against other precisions and its neighbours.
            precisions, untimed = other_precisions(
                first.winner, graphs, evaluation, reader=onnx.file("reader"), limit_bytes=self._size_limit_bytes
            )
            heats = [first]
            for found in local_search(
                first,
                precisions,
                neighbours=partial(
                    neighbours,
                    graphs=graphs,
                    rules=self._rules,
                    threads=self._runtime.threads,
                    spinning=self._spinning,
                ),
                heat=heat,
                most=_MOST_HEATS - 1,
            ):
                heats.append(found)
                work.progress(len(sets) + len(heats), steps, "steps")
            work.progress(steps, steps, "steps")

        for sentence in graphs.dropped:
            work.emit(Note(sentence))
        (work.folder / CHOICE).write_text(heats[-1].winner.model_dump_json(indent=2) + "\n", encoding="utf-8")
        table = _table(heats, untimed, graphs.errors)
        (work.folder / "race.json").write_bytes(_ROWS.dump_json(table, indent=2) + b"\n")
        return StageMetrics(notes=tuple(graphs.dropped))

    def _heat(self, timer: VariantTimer, variants: Sequence[Variant]) -> RaceResult[Variant]:
        """Race variants. Of equally fast ones the target's own precision wins, then the simpler, then fewer threads."""
        candidates = [
            Candidate(one, one.words, (one.precision != self._settings, one.complexity, one.raced_session.threads))
            for one in variants
        ]
        return run_heat(candidates, timer, self._config)


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


def read_race(artifact: Artifact) -> list[RaceRow]:
    """Read the rows of a race."""
    return _ROWS.validate_json(artifact.file("race.json").read_bytes())
