"""race: an fp32 graph + target → which variant of it is fastest there.

Sets of exact rewrites, with ONNX Runtime's own fusions and without the one that is often slower, in the target's precision;
then the winner against its neighbours: without one of its rewrites, with another session option, in other precisions; and
as long as one of these wins, that against its own, of other rewrites and sessions, a few heats at most. Rows are of the selection split, and all take turns on the same.
Writes `choice.json` (the verdict, no figures: it enters the keys of what is made by it), `race.json` (a row a variant:
time, parity, why it lost) and `samples.jsonl`.

A race is a measurement, made once for its inputs and kept: what is shipped is a function of the export and the verdict.
"""

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue, TypeAdapter

from edgeprune.base.errors import TargetError
from edgeprune.base.events import Note
from edgeprune.benchmark.race import Entrant, RaceRow, race
from edgeprune.benchmark.turns import time_by_turns
from edgeprune.devices import Runner
from edgeprune.devices.protocol import LatencyRequest, Loaded, LoadRequest, ModelTimes, of_type
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.pipeline import BLOCK, RaceConfig
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.target import Runtime, Workload
from edgeprune.profiles.variant import CHOICE, SKIP_FUSION, RewriteName, SessionOptions, Variant
from edgeprune.store.records import Artifact, StageMetrics

if TYPE_CHECKING:
    from edgeprune.graph.variants import Graphs

__all__ = ["Race", "read_race"]

_WARMUP = 3

_HEATS = 5
"""At most; most often the third or fourth has no new winner."""

_ROWS = TypeAdapter(list[RaceRow])


class Race(Stage):
    """Finds the fastest variant on the target.

    Args:
        config: The pipeline's `stages.race`.
        settings: The target's precision, resolved.
        runtime: The target's provider and threads.
        workload: The target's workload.
        size_limit_bytes: The target's size budget, of packages; what is above is no alternative. None: there is none.
        tolerance: Largest relative difference of a rewritten graph's outputs from PyTorch's.
        runner: How the target is reached.
        place: What the verdict holds for.
        round_number: Of the graph's checkpoint.
    """

    name = "race"
    version = 3
    libraries = ("onnx", "onnx-ir", "onnxruntime")
    roles = ("dense", "onnx")
    produces = (CHOICE, "race.json", "samples.jsonl")
    verdict = CHOICE

    def __init__(
        self,
        config: RaceConfig,
        *,
        settings: PrecisionSettings,
        runtime: Runtime,
        workload: Workload,
        size_limit_bytes: float | None,
        tolerance: float,
        runner: Runner,
        place: JsonValue,
        round_number: int,
    ) -> None:
        self.round = round_number
        self._config = config
        self._settings = settings
        self._runtime = runtime
        self._workload = workload
        self._size_limit_bytes = size_limit_bytes
        self._tolerance = tolerance
        self._runner = runner
        self._place = place

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "config": self._config.model_dump(mode="json"),
            "precision": self._settings.model_dump(mode="json"),
            "runtime": self._runtime.model_dump(mode="json"),
            "workload": self._workload.model_dump(mode="json", include={"batch_size", "lengths"}),
            "size_limit_bytes": self._size_limit_bytes,
            "tolerance": self._tolerance,
            "raced_on": self._place,
        }

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.benchmark.workload import batches_of
        from edgeprune.graph.calibration import feeds_of
        from edgeprune.graph.references import REFERENCES, load_references
        from edgeprune.graph.variants import Graphs, neighbours, other_precisions, rewrite_sets
        from edgeprune.tasks.prepared import open_prepared

        onnx = work.parents["onnx"]
        prepared = open_prepared(work.parents["dense"], work.data, splits=("selection",), reader=onnx.file("reader"))
        selection, reader = prepared.splits["selection"], prepared.reader
        calibration, judged = feeds_of(selection, reader)
        batches, _ = batches_of(selection, reader, self._workload, self._config.samples, seed=work.seed)
        references = load_references(onnx.file(REFERENCES))
        graphs = Graphs(onnx.file("model.onnx"), work.folder / "graphs", references, self._tolerance, calibration)
        sets = rewrite_sets(unpadded=self._workload.batch_size == 1)
        steps = len(sets) + _HEATS
        try:
            entrants: list[Variant] = []
            for done, names in enumerate(sets, start=1):
                made = graphs.make(names, self._settings)
                entrants += [one for one in self._with_fusions(made) if one not in entrants]
                work.progress(done, steps, "steps")
            winner, rows = self._heat(work, graphs, entrants, batches)
            others, untimed = other_precisions(
                winner, graphs, judged, beside=onnx.file("reader"), limit_bytes=self._size_limit_bytes
            )
            for heat in range(1, _HEATS):
                work.progress(len(sets) + heat, steps, "steps")
                others += neighbours(winner, graphs, threads=self._runtime.threads)
                champion, others = winner, [one for one in others if one.words not in rows]
                winner, found = self._heat(work, graphs, [champion, *others], batches)
                rows |= found
                if winner == champion:
                    break
                others = []
            rows |= {name: _untimed(name, f"not timed: {why}") for name, why in untimed.items()}
            work.progress(steps, steps, "steps")
        finally:
            shutil.rmtree(graphs.folder, ignore_errors=True)
        for sentence in graphs.dropped:
            work.emit(Note(sentence))
        (work.folder / CHOICE).write_text(winner.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (work.folder / "race.json").write_bytes(_ROWS.dump_json(list(rows.values()), indent=2) + b"\n")
        return StageMetrics(notes=tuple(graphs.dropped))

    def _with_fusions(self, rewrites: tuple[RewriteName, ...]) -> list[Variant]:
        """A graph as ONNX Runtime fuses it, and without the fusion that is often slower."""
        session = SessionOptions(threads=self._runtime.threads)
        return [
            Variant(rewrites=rewrites, precision=self._settings, session=one)
            for one in (session, session.toggled(SKIP_FUSION))
        ]

    def _heat(
        self, work: Work, graphs: "Graphs", entrants: Sequence[Variant], batches: "list[JsonValue]"
    ) -> tuple[Variant, dict[str, RaceRow]]:
        """The fastest of some variants, and a row each by their words."""
        refused = self._refused(graphs, entrants, batches[0])
        if len(refused) == len(entrants):
            raise TargetError(f"the target refuses every graph: {next(iter(refused.values()))}")
        by_name = {variant.words: variant for variant in entrants if variant.words not in refused}

        def measure(names: Sequence[str], processes: int, samples: int) -> dict[str, list[list[float]]]:
            request = LatencyRequest(
                provider=self._runtime.provider,
                sessions={name: by_name[name].raced_session for name in names},
                batches={name: [batches[number % len(batches)] for number in range(samples)] for name in names},
                warmup=_WARMUP,
                block=BLOCK,
            )
            models = {name: graphs.path(by_name[name]) for name in names}
            taken: dict[str, list[list[float]]] = {name: [] for name in names}
            with (work.folder / "samples.jsonl").open("a", encoding="utf-8") as file:
                for said in time_by_turns(self._runner, request, models, processes=range(processes)):
                    file.write(said.line)
                    if isinstance(said.answer, ModelTimes):
                        taken[said.answer.name].append(said.answer.ms)
            return taken

        name, rows = race(
            [Entrant(name, self._complexity(variant)) for name, variant in by_name.items()],
            measure,
            processes=self._config.processes,
            samples=self._config.samples,
            block=BLOCK,
        )
        rows += [_untimed(name, f"the target refuses it: {error}") for name, error in refused.items()]
        errors = {one.words: graphs.errors[one.rewrites] for one in entrants}
        return by_name[name], {row.variant: row.model_copy(update={"max_error": errors[row.variant]}) for row in rows}

    def _complexity(self, variant: Variant) -> tuple[int, ...]:
        """Of two that are equally fast: the target's own precision, the simpler, the fewer threads."""
        return variant.precision != self._settings, variant.complexity, variant.raced_session.threads

    def _refused(self, graphs: "Graphs", entrants: Sequence[Variant], batch: "JsonValue") -> dict[str, str]:
        """Of the variants that the target's runtime can't open, or not run where it should, why."""
        request = LoadRequest(
            provider=self._runtime.provider,
            sessions={one.words: one.raced_session for one in entrants},
            batches={one.words: [batch] for one in entrants},
        )
        answers = self._runner.run(request, {one.words: graphs.path(one) for one in entrants})
        return {one.name: one.error for one in of_type(answers, Loaded) if one.error is not None}


def _untimed(name: str, why: str) -> RaceRow:
    return RaceRow(variant=name, p50_ms=None, ratio=None, ratio_interval=None, samples=0, why=why)


def read_race(artifact: Artifact) -> list[RaceRow]:
    """What a race found."""
    return _ROWS.validate_json(artifact.file("race.json").read_bytes())
