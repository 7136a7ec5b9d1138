"""benchmark: time the dense model and the result by turns on the target.

The dense model is timed in fp32 and in the result's precision. The stage writes `samples.jsonl` (every sample in ns, by
process and model), `latency.json` (the figures made of the samples) and `device.json` (the device). A measurement is no
function of its inputs, so every build measures anew, and the store keeps every run at `benchmark/<key>/<run id>/`. If a
latency budget lies inside the result's interval, as many processes again are run, up to three times in all.

A search measures its rungs in the same way, on rows of the selection split, and keeps what it measured: `MeasureRung`.
"""

from dataclasses import replace

from pydantic import JsonValue, TypeAdapter

from edgeprune.benchmark.measure import Load, Measured, measure
from edgeprune.benchmark.records import DeviceRow, LatencyRow
from edgeprune.benchmark.verdicts import BudgetRow, judge, undecided
from edgeprune.data.batches import draw
from edgeprune.data.images import ImageFile
from edgeprune.data.table import SplitName
from edgeprune.devices import Runner
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.package import package_folder
from edgeprune.profiles.pipeline import BenchmarkConfig
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.target import LATENCY_BUDGETS, Budget, Target
from edgeprune.profiles.variant import read_variant
from edgeprune.store.records import Artifact, StageMetrics
from edgeprune.tasks.registry import ondevice_modules

__all__ = ["Benchmark", "MeasureRung", "read_device", "read_latency"]

_ROWS = TypeAdapter(list[LatencyRow])

_ALONE = {"text": False, "sessions": 1}
"""The part of a workload that a rung isn't measured for: answers to texts, and parallel sessions."""


class Benchmark(Stage):
    """Time several graphs by turns.

    Args:
        config: The pipeline's `stages.benchmark`.
        names: Names of the graphs; each is the role of a parent. The last graph is shipped.
        target: The target's profile; its runtime, workload and latency budgets are read.
        runner: How the target is reached.
        place: The machine that the measurement holds for.
        round_number: The round of the package's checkpoint.
    """

    name = "benchmark"
    version = 6
    libraries = ("onnxruntime",)
    roles = ("baseline",)
    produces = ("samples.jsonl", "latency.json", "device.json")
    measures = True
    split: SplitName = "test"
    """The split whose rows are timed."""

    def __init__(
        self,
        config: BenchmarkConfig,
        *,
        names: tuple[str, ...],
        target: Target,
        runner: Runner,
        place: JsonValue,
        round_number: int,
    ) -> None:
        self.round = round_number
        target = self.timed_for(target)
        self._config = config
        self._names = names
        self._budget = target.budget
        self._runtime = target.runtime
        self._workload = target.workload
        self._runner = runner
        self._place = place

    def timed_for(self, target: Target) -> Target:
        """Give the target with the budgets and the workload that the graphs are timed for."""
        return target

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "config": self._config.model_dump(mode="json"),
            "limits": self._budget.model_dump(mode="json", include=set(LATENCY_BUDGETS)),
            "runtime": self._runtime.model_dump(mode="json"),
            "workload": self._workload.model_dump(mode="json"),
            "measured_on": self._place,
        }

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.benchmark.workload import batches_of
        from edgeprune.tasks.prepared import open_prepared

        names = self._names
        sessions = {name: self._session(work.parents[name]) for name in names}
        workloads: dict[str, tuple[list[JsonValue], JsonValue]] = {}
        loads: dict[str, Load] = {}
        for name in names:
            files = work.parents[name].manifest.files
            digests = " ".join(file.sha256 for file in files if file.path.startswith("reader/"))
            if digests not in workloads:  # most often all models share one
                prepared = open_prepared(
                    work.parents["baseline"], work.data, splits=(self.split,), reader=work.parents[name].file("reader")
                )
                workloads[digests] = batches_of(
                    prepared.splits[self.split], prepared.reader, self._workload, self._config.samples, seed=work.seed
                )
            tokenizer = work.parents[name].file("reader") / "tokenizer.json"
            loads[name] = Load(
                work.parents[name].file("model.onnx"),
                sessions[name],
                *workloads[digests],
                tokenizer=tokenizer if tokenizer.is_file() else None,
            )
        if "package" in work.parents:
            loads[names[-1]] = self._answering(work, loads[names[-1]])
        found = measure(
            self._runner,
            loads,
            self._config,
            provider=self._runtime.provider,
            parallel=self._workload.sessions,
            samples=work.folder / "samples.jsonl",
            undecided=lambda found: undecided(self._judged(self._row(found, names[-1], sessions[names[-1]]))),
            progress=work.progress,
        )
        rows = [self._row(found, name, sessions[name]) for name in names]
        (work.folder / "latency.json").write_bytes(_ROWS.dump_json(rows, indent=2))
        (work.folder / "device.json").write_text(found.device_row.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return StageMetrics()

    def _session(self, artifact: Artifact) -> SessionOptions:
        """Give the session options that won the race, or else ONNX Runtime's defaults with the target's threads."""
        variant = read_variant(artifact)
        raced = variant.session if variant else None
        return raced or SessionOptions(threads=self._runtime.threads)

    def _row(self, found: Measured, name: str, session: SessionOptions) -> LatencyRow:
        return found.row(
            name,
            provider=self._runtime.provider,
            threads=session.threads,
            workload=self._workload,
            lengths=str(self._workload.lengths),
        )

    def _judged(self, row: LatencyRow) -> list[BudgetRow]:
        """Judge the latency alone, because the other figures are known already."""
        return judge(self._budget, size_mb=0, metric=None, latency=row)

    def _answering(self, work: Work, load: Load) -> Load:
        """Give the result's load with its package, and with test rows in the form that run.py is given."""
        contents = _answered_rows(work, work.parents["baseline"], self._config.samples)
        return replace(load, package=package_folder(work.parents["package"]), contents=contents)


class MeasureRung(Benchmark):
    """Time a rung of a search and the dense model by turns, on rows of the selection split.

    The search decides by these figures, so they are measured once for their inputs and then kept, like a race. No budget
    enters the key: targets that differ in budget alone share their rungs.
    """

    name = "rung"
    version = 1
    measures = False
    split: SplitName = "selection"

    def timed_for(self, target: Target) -> Target:
        alone = target.workload.model_copy(update=_ALONE)
        return target.model_copy(update={"budget": Budget(), "workload": alone})


def read_device(run: Artifact) -> DeviceRow:
    """Read the device that a benchmark ran on."""
    return DeviceRow.model_validate_json(run.file("device.json").read_bytes())


def read_latency(run: Artifact) -> list[LatencyRow]:
    """Read the latencies that a benchmark found."""
    return _ROWS.validate_json(run.file("latency.json").read_bytes())


def _answered_rows(work: Work, baseline: Artifact, count: int) -> list[JsonValue]:
    """Draw test rows in a seeded order, in the form in which goldens keep them.

    Args:
        work: What the running stage was given.
        baseline: The prepare artifact.
        count: How many rows are drawn.
    """
    from edgeprune.tasks.prepared import open_prepared

    prepared = open_prepared(baseline, work.data, splits=("test",))
    module, _ = ondevice_modules(prepared.task.spec.task)
    groups, _ = draw(prepared.test.contents, lambda _: 0, batch_size=1, count=count, seed=work.seed)
    return [
        module.to_json(row.read() if isinstance(row, ImageFile) else prepared.task.golden(row, prepared.reader))
        for (row,) in groups
    ]
