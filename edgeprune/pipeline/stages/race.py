"""race: find the variant of an fp32 graph that is fastest on the target.

`edgeprune.pipeline.find_variant` says which variants race. Inputs come from the selection split.

The stage writes `choice.json` (the verdict), `race.json` (a row for each variant: its time, its parity, and why it
lost) and `samples.jsonl`. The verdict holds no figures, because it enters the keys of the artifacts that are made by
it.

A race is a measurement that is made once for its inputs and then kept. What is shipped is a function of the export and
the verdict.
"""

from pydantic import JsonValue, TypeAdapter

from edgeprune.base.events import Note
from edgeprune.benchmark.race import RaceRow
from edgeprune.devices import Runner
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.pipeline import RaceConfig
from edgeprune.profiles.target import Target
from edgeprune.profiles.variant import CHOICE, RewriteRules
from edgeprune.store.records import Artifact, StageMetrics

__all__ = ["Race", "read_race"]

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
        self._target = target
        self._tolerance = tolerance
        self._runner = runner
        self._place = place

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "config": self._config.model_dump(mode="json"),
            "rules": self._rules.model_dump(mode="json"),
            "precision": self._target.precision_settings.model_dump(mode="json"),
            "runtime": self._target.runtime.model_dump(mode="json"),
            "workload": self._target.workload.model_dump(mode="json", include={"batch_size", "lengths"}),
            "size_limit_bytes": self._target.size_limit_bytes,
            "tolerance": self._tolerance,
            "raced_on": self._place,
        }

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.benchmark.workload import batches_of
        from edgeprune.graph.calibration_rows import feeds_of
        from edgeprune.graph.references import REFERENCES, load_references
        from edgeprune.pipeline.find_variant import Entrant, find_variant
        from edgeprune.tasks.prepared import open_prepared

        onnx = work.parents["onnx"]
        prepared = open_prepared(work.parents["dense"], work.data, splits=("selection",), reader=onnx.file("reader"))
        selection, reader = prepared.splits["selection"], prepared.reader
        calibration, evaluation = feeds_of(selection, reader)
        batches, _ = batches_of(selection, reader, self._target.workload, self._config.samples, seed=work.seed)
        found = find_variant(
            Entrant(
                onnx.file("model.onnx"),
                onnx.file("reader"),
                load_references(onnx.file(REFERENCES)),
                self._tolerance,
                calibration,
                evaluation,
                batches,
            ),
            self._target,
            self._rules,
            config=self._config,
            runner=self._runner,
            folder=work.folder,
            progress=work.progress,
        )
        for sentence in found.dropped:
            work.emit(Note(sentence))
        (work.folder / CHOICE).write_text(found.winner.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (work.folder / "race.json").write_bytes(_ROWS.dump_json(found.rows, indent=2) + b"\n")
        return StageMetrics(notes=found.dropped)


def read_race(artifact: Artifact) -> list[RaceRow]:
    """Read the rows of a race."""
    return _ROWS.validate_json(artifact.file("race.json").read_bytes())
