"""race: an fp32 graph + target → which variant of it is fastest there.

Sets of exact rewrites, with ONNX Runtime's own fusions and without the one that is often slower, in the target's precision;
then the winner without one of its rewrites, with other session options and in other precisions: fp32, as int8 that is
slower isn't shipped unless the size budget needs it, and other ways to int8 whose outputs are no further from fp32's. All
take turns on the same texts. Writes `choice.json` (the verdict, no figures: it enters the keys of what is made by it),
`race.json` (a row a variant: time, parity, why it lost) and `samples.jsonl`.

A race is a measurement, made once for its inputs and kept: what is shipped is a function of the export and the verdict.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue, TypeAdapter

from edgeprune.artifacts import Artifact, StageMetrics, total_bytes
from edgeprune.errors import TargetError
from edgeprune.events import Note
from edgeprune.precision import PrecisionSettings
from edgeprune.profiles import RaceConfig, Runtime, Workload
from edgeprune.racing import Entrant, RaceRow, race
from edgeprune.runners import Record, Runner
from edgeprune.runners.turns import BLOCK, time_by_turns
from edgeprune.stage import Stage, Work
from edgeprune.variant import CHOICE, NO_SKIP_FUSION, PLAIN, RewriteName, SessionOptions, Variant

if TYPE_CHECKING:
    from edgeprune.graph.quantization import Feed
    from edgeprune.models.reader import Array
    from edgeprune.references import Reference

__all__ = ["Race", "read_race"]

_WARMUP = 3

_ATTENTION: tuple[tuple[RewriteName, ...], ...] = ((), ("standard-attention",), ("fused-attention",))
_PROJECTIONS: tuple[tuple[RewriteName, ...], ...] = ((), ("packed-projections",))

_WEIGHTS_ONLY: dict[str, object] = {
    "mode": "int8-weights",
    "weight_type": None,
    "reduce_range": None,
    "per_channel": None,
}

_ROWS = TypeAdapter(list[RaceRow])


class Race(Stage):
    """Finds the fastest variant on the target.

    Args:
        config: The pipeline's `stages.race`.
        settings: The target's precision, resolved.
        runtime: The target's provider and threads.
        workload: The target's workload.
        size_limit_bytes: The target's size budget; fp32 above it is no alternative. None: there is none.
        tolerance: Largest relative difference of a rewritten graph's outputs from PyTorch's.
        runner: How the target is reached.
        place: What the verdict holds for.
        round_number: Of the graph's checkpoint.
    """

    name = "race"
    version = 2
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
        from edgeprune.calibration import feeds_of
        from edgeprune.prepared import open_prepared
        from edgeprune.references import REFERENCES, load_references
        from edgeprune.workloads import batches_of

        onnx = work.parents["onnx"]
        prepared = open_prepared(work.parents["dense"], work.data, splits=("selection",), reader=onnx.file("reader"))
        calibration, judged = feeds_of(prepared.splits["selection"], prepared.reader)
        batches, _ = batches_of(work, work.parents["dense"], onnx.file("reader"), self._workload, self._config.samples)
        references = load_references(onnx.file(REFERENCES))
        graphs = _Graphs(onnx.file("model.onnx"), work.folder / "graphs", references, self._tolerance, calibration)
        sets = self._sets()
        rows: list[RaceRow] = []
        try:
            entrants: list[Variant] = []
            for done, names in enumerate(sets, start=1):
                entrants += [
                    one for one in self._with_fusions(graphs.make(names, self._settings)) if one not in entrants
                ]
                work.progress(done, len(sets) + 2, "steps")
            winner, found = self._heat(work, graphs, entrants, batches)
            rows += [row for row in found if row.variant != winner.words]
            work.progress(len(sets) + 1, len(sets) + 2, "steps")
            others = [*self._with_sessions(winner), *self._in_other_precisions(winner, graphs, judged)]
            others += [one for one in self._with_fewer_rewrites(winner, graphs) if one not in entrants]
            winner, found = self._heat(work, graphs, [winner, *others], batches)
            rows += found
            work.progress(len(sets) + 2, len(sets) + 2, "steps")
        finally:
            shutil.rmtree(graphs.folder, ignore_errors=True)
        for sentence in graphs.dropped:
            work.emit(Note(sentence))
        (work.folder / CHOICE).write_text(winner.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (work.folder / "race.json").write_bytes(_ROWS.dump_json(rows, indent=2) + b"\n")
        return StageMetrics(notes=tuple(graphs.dropped))

    def _sets(self) -> list[tuple[RewriteName, ...]]:
        """The sets of rewrites that are tried first; without a mask only where the workload is one text at a time."""
        base: tuple[RewriteName, ...] = (*PLAIN, "unpadded") if self._workload.batch_size == 1 else PLAIN
        combined = [(*base, *packed, *attention) for packed in _PROJECTIONS for attention in _ATTENTION]
        return list(dict.fromkeys([(), PLAIN, *combined]))

    def _with_fewer_rewrites(self, variant: Variant, graphs: "_Graphs") -> list[Variant]:
        """A variant without one of its rewrites each: one that buys nothing isn't shipped."""
        kept = [tuple(name for name in variant.rewrites if name != left) for left in variant.rewrites]
        return [variant.model_copy(update={"rewrites": graphs.make(names, variant.precision)}) for names in kept]

    def _with_fusions(self, rewrites: tuple[RewriteName, ...]) -> list[Variant]:
        """A graph as ONNX Runtime fuses it, and without the fusion that is often slower."""
        session = SessionOptions(threads=self._runtime.threads)
        unfused = session.model_copy(update={"config": dict([NO_SKIP_FUSION])})
        return [
            Variant(rewrites=rewrites, precision=self._settings, session=session),
            Variant(rewrites=rewrites, precision=self._settings, session=unfused),
        ]

    @staticmethod
    def _session(variant: Variant) -> SessionOptions:
        assert variant.session is not None  # noqa: S101 (all that race have one)
        return variant.session

    def _with_sessions(self, variant: Variant) -> list[Variant]:
        """A variant with one other session option each."""
        session = self._session(variant)
        changes: list[dict[str, object]] = [{"level": "extended"}, {"arena": False}]
        key, skip = NO_SKIP_FUSION
        changes.append({"config": {**session.config, key: f"{skip};BiasGeluFusion"}})
        if session.threads > 1:
            changes.append({"config": {**session.config, "session.intra_op.allow_spinning": "0"}})
            changes += [{"threads": threads} for threads in range(1, session.threads)]
        return [variant.model_copy(update={"session": session.model_copy(update=change)}) for change in changes]

    def _in_other_precisions(self, variant: Variant, graphs: "_Graphs", judged: "Sequence[Feed]") -> list[Variant]:
        """The same in fp32, unless that is too large, and in other kinds of int8 that are as near to it."""
        from edgeprune.calibration import mean_distance, outputs_of
        from edgeprune.evaluation import onnx_session

        mode = self._settings.mode
        if mode not in ("int8-dynamic", "int8-static"):  # weights alone are made small for their size
            return []

        def outputs(settings: PrecisionSettings) -> "list[Array]":
            graphs.make(variant.rewrites, settings)
            path = graphs.path(variant.model_copy(update={"precision": settings}))
            return outputs_of(onnx_session(path, variant.session), judged)

        def fits(one: Variant) -> bool:
            limit = self._size_limit_bytes
            return limit is None or total_bytes([graphs.path(one).parent]) <= limit

        fp32 = PrecisionSettings(mode="fp32")
        exact = outputs(fp32)
        alternatives = [variant.model_copy(update={"precision": fp32})]
        allowed = mean_distance(outputs(self._settings), exact)
        others: list[dict[str, object]] = [
            {"mode": "int8-static"},
            _WEIGHTS_ONLY,
            {"per_channel": not self._settings.per_channel},
        ]
        for change in others if mode == "int8-dynamic" else []:
            settings = self._settings.model_copy(update=change)
            if mean_distance(outputs(settings), exact) <= allowed:
                alternatives.append(variant.model_copy(update={"precision": settings}))
        return [one for one in alternatives if fits(one)]

    def _heat(
        self, work: Work, graphs: "_Graphs", entrants: Sequence[Variant], batches: "list[JsonValue]"
    ) -> tuple[Variant, list[RaceRow]]:
        """The fastest of some variants, and a row each."""
        refused = self._refused(graphs, entrants, batches[0])
        if len(refused) == len(entrants):
            raise TargetError(f"the target refuses every graph: {next(iter(refused.values()))}")
        by_name = {variant.words: variant for variant in entrants if variant.words not in refused}

        def measure(names: Sequence[str], processes: int, samples: int) -> dict[str, list[list[float]]]:
            request: Record = {
                "provider": self._runtime.provider,
                "warmup": _WARMUP,
                "sessions": {name: self._session(by_name[name]).model_dump(mode="json") for name in names},
                "batches": {name: [batches[number % len(batches)] for number in range(samples)] for name in names},
            }
            models = {name: graphs.path(by_name[name]) for name in names}
            taken: dict[str, list[list[float]]] = {name: [] for name in names}
            with (work.folder / "samples.jsonl").open("a", encoding="utf-8") as file:

                def keep(record: Record) -> None:
                    file.write(json.dumps(record) + "\n")
                    if record["kind"] == "samples":
                        taken[str(record["name"])].append([ns / 1e6 for ns in cast("list[int]", record["ns"])])

                time_by_turns(self._runner, request, models, processes=range(processes), keep=keep)
            return taken

        name, rows = race(
            [Entrant(name, variant.complexity) for name, variant in by_name.items()],
            measure,
            processes=self._config.processes,
            samples=self._config.samples,
            block=BLOCK,
        )
        rows += [
            RaceRow(
                variant=one,
                p50_ms=None,
                ratio=None,
                ratio_interval=None,
                samples=0,
                why=f"the target refuses it: {error}",
            )
            for one, error in refused.items()
        ]
        errors = {one.words: graphs.errors[one.rewrites] for one in entrants}
        return by_name[name], [row.model_copy(update={"max_error": errors[row.variant]}) for row in rows]

    def _refused(self, graphs: "_Graphs", entrants: Sequence[Variant], batch: "JsonValue") -> dict[str, str]:
        """Of the variants that the target's runtime can't open, or not run where it should, why."""
        request: Record = {
            "mode": "load",
            "provider": self._runtime.provider,
            "sessions": {one.words: self._session(one).model_dump(mode="json") for one in entrants},
            "batches": {one.words: [batch] for one in entrants},
        }
        records = self._runner.run(request, {one.words: graphs.path(one) for one in entrants})
        loaded = [record for record in records if record["kind"] == "loaded"]
        return {str(record["name"]): str(record["error"]) for record in loaded if record["error"] is not None}


class _Graphs:
    """The files of variants.

    Args:
        source: The export.
        folder: Where they are put.
        references: What PyTorch computed.
        tolerance: Largest relative difference of a rewritten graph's outputs.
        calibration: What `convert` is given.
    """

    def __init__(
        self,
        source: Path,
        folder: Path,
        references: "Sequence[Reference]",
        tolerance: float,
        calibration: "Sequence[Feed]",
    ) -> None:
        self.folder = folder
        self.errors: dict[tuple[RewriteName, ...], float] = {}
        """By the rewrites that were applied, the largest difference from PyTorch."""
        self.dropped: list[str] = []
        """A sentence for every rewrite that was left out."""
        self._source = source
        self._references = references
        self._tolerance = tolerance
        self._calibration = calibration
        self._paths: dict[tuple[tuple[RewriteName, ...], PrecisionSettings], Path] = {}
        folder.mkdir()

    def make(self, rewrites: tuple[RewriteName, ...], settings: PrecisionSettings) -> tuple[RewriteName, ...]:
        """Make the graph with these rewrites; those that found something to change and are exact."""
        if (rewrites, settings) in self._paths:
            return rewrites
        from edgeprune.graph.quantization import convert
        from edgeprune.graph.serialization import remove_graph
        from edgeprune.rewriting import rewrite

        exact = self._new()
        found = rewrite(self._source, exact, rewrites, self._references, tolerance=self._tolerance)
        self.dropped += [sentence for sentence in found.dropped if sentence not in self.dropped]
        self.errors[found.applied] = found.agreement.max_error
        made = (found.applied, settings)
        if made not in self._paths:
            self._paths[made] = self._new()
            convert(exact, self._paths[made], settings, self._calibration)
        remove_graph(exact)  # all of them at once would fill the disk
        return found.applied

    def path(self, variant: Variant) -> Path:
        """The graph of a variant that was made."""
        return self._paths[variant.rewrites, variant.precision]

    def _new(self) -> Path:
        folder = self.folder / str(len(list(self.folder.iterdir())))
        folder.mkdir()
        return folder / "model.onnx"


def read_race(artifact: Artifact) -> list[RaceRow]:
    """What a race found."""
    return _ROWS.validate_json(artifact.file("race.json").read_bytes())
