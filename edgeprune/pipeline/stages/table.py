"""table: measure on the target what a layer costs at each number of heads and each FFN width.

Models of the family with random weights are timed as whole graphs, in the form that is shipped: rewritten, in the
target's precision, with a race's session options. A race on a model of middle sizes chooses the form. Inputs come from
the selection split, as the race's do, and all graphs take turns on the same inputs.

The stage writes `costs.json` (the verdict: a `CostTable`) and `samples.jsonl`. It needs no weights and no parents, so
that it runs before anything is trained: a latency budget that no model of the family can keep is known early.

A table is a measurement that is made once for its inputs and then kept, as a race is.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from pydantic import JsonValue

from edgeprune.benchmark.graph_timer import time_graphs
from edgeprune.benchmark.statistics import percentile
from edgeprune.devices import Runner
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.given import read_given
from edgeprune.profiles.pipeline import ExportConfig, RaceConfig
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.target import Target
from edgeprune.profiles.variant import RewriteRules, Variant
from edgeprune.search.costs import COSTS, CostTable, ValidationRow
from edgeprune.search.fit import fit_costs
from edgeprune.search.table_design import Design, Layers, Shape, design_for
from edgeprune.store.records import StageMetrics
from edgeprune.tasks.registry import IMAGE_TASKS, TaskName
from edgeprune.tasks.spec import ProblemType

__all__ = ["Table"]

_PROCESSES = 4
_SAMPLES = 40
"""Timed runs of each graph in each process: as many as a benchmark makes, so that both see the same mix of lengths."""
_FP32 = PrecisionSettings(mode="fp32")
_BEFORE_TIMING = 4
"""Steps before graphs are timed: two exports, a race, and the graphs."""
_STEPS = _BEFORE_TIMING + _PROCESSES


class Table(Stage):
    """Measure the costs of layers by their sizes.

    Args:
        race: The pipeline's `stages.race`; None: graphs get only the rewrites that need no measurement. A table's own
            race is always as short.
        align: FFN widths are multiples of this.
        export: The pipeline's `stages.export`.
        task: The task's name.
        pair: Whether a column has the second text of each row: such texts have token types.
        problem_type: The kind of a classification; None: the checkpoint or the labels decide it, or the task has none.
        max_length: Tokens that a text is cut to.
        selection_share: Share of the training rows that the selection split takes if it isn't given.
        model_digest: Digest of the model's files without its weights (`ModelSource.structure_digest`).
        data_digest: Digest of the data.
        target: The target's profile. Its precision, runtime and workload are read.
        rules: Which rewrites every graph must have, and whether one may do without a mask.
        runner: How the target is reached.
        place: The machine that the table holds for.
        embedding_rank: The rank that the token embedding is factored to before layers are cut; None: as it is given.
    """

    name = "table"
    version = 2
    libraries = ("torch", "transformers", "onnx", "onnxscript", "onnx-ir", "onnxruntime", "scipy")
    produces = (COSTS, "samples.jsonl")
    verdict = COSTS

    def __init__(
        self,
        race: RaceConfig | None,
        *,
        align: int,
        export: ExportConfig,
        task: TaskName,
        pair: bool,
        problem_type: ProblemType | None,
        max_length: int,
        selection_share: float,
        model_digest: str,
        data_digest: str,
        target: Target,
        rules: RewriteRules,
        runner: Runner,
        place: JsonValue,
        embedding_rank: int | None = None,
    ) -> None:
        self._race = race
        self._align = align
        self._export = export
        self._task = task
        self._pair = pair
        self._problem_type = problem_type
        self._max_length = None if task in IMAGE_TASKS else max_length
        self._selection_share = selection_share
        self._model_digest = model_digest
        self._data_digest = data_digest
        self._target = target
        self._rules = rules
        self._runner = runner
        self._place = place
        self._embedding_rank = embedding_rank

    def fingerprint(self) -> dict[str, JsonValue]:
        from_data = self._target.workload.lengths == "data" and self._task not in IMAGE_TASKS
        factored = {} if self._embedding_rank is None else {"embedding_rank": self._embedding_rank}
        return {
            **factored,
            "raced": self._race is not None,
            "align": self._align,
            "export": self._export.model_dump(mode="json"),
            "task": self._task,
            "pair": self._pair,
            "problem_type": self._problem_type,
            "max_length": self._max_length,
            "model": self._model_digest,
            "data": [self._data_digest, self._selection_share] if from_data else None,
            "precision": self._target.precision_settings.model_dump(mode="json"),
            "runtime": self._target.runtime.model_dump(mode="json"),
            "workload": self._target.workload.model_dump(mode="json", include={"batch_size", "lengths"}),
            "rules": self._rules.model_dump(mode="json"),
            "measured_on": self._place,
        }

    @property
    def _plain(self) -> Variant:
        session = SessionOptions(threads=self._target.runtime.threads)
        return Variant(rewrites=self._rules.plain, precision=self._target.precision_settings, session=session)

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.benchmark.workload import batches_of
        from edgeprune.graph.calibration_rows import feeds_of
        from edgeprune.graph.serialization import remove_graph
        from edgeprune.graph.sized_exports import export_sizes
        from edgeprune.graph.sized_graphs import SizedGraphs, is_narrowed
        from edgeprune.models.architectures import architecture_of, layer_sizes, longest_text
        from edgeprune.models.checkpoint import empty_model
        from edgeprune.pipeline.quick_race import quick_race
        from edgeprune.tasks.prepared import Split, select

        given = read_given(
            work,
            self._task,
            problem_type=self._problem_type,
            max_length=self._max_length,
            selection_share=self._selection_share,
        )
        config, task, reader, settings = given.config, given.task, given.reader, self._target.precision_settings
        contents = select(given.tables, {"selection": given.rows["selection"]})["selection"].contents
        selection = Split(contents, task.encode(reader, contents), None)
        for name, value in task.config_overrides().items():
            setattr(config, name, value)
        model = empty_model(config, given.record, task.auto_class, **task.model_arguments(config.model_type))
        shape = Shape.of(layer_sizes(model), align=self._align)

        def progress(done: int) -> None:
            work.progress(done, _STEPS, "steps")

        given_rank = None if given.record is None else given.record.embedding_rank
        exports = export_sizes(
            config,
            range(shape.layers) if given.record is None else list(given.record.positions()),
            task,
            reader,
            selection.inputs,
            work.folder,
            opset=self._export.opset,
            settings=settings,
            progress=progress,
            hidden=None if given.record is None else given.record.hidden,
            embedding_rank=self._embedding_rank or given_rank,
        )
        form = partial(SizedGraphs, exports.files, exports.sizes, architecture_of(config))
        calibration = [exports.known(feed) for feed in feeds_of(selection, reader)[0]]
        batches, _ = batches_of(selection, reader, self._target.workload, _SAMPLES, seed=work.seed)
        batches = [exports.known(cast("dict[str, Any]", batch)) for batch in batches]

        with form(rewrites=(), settings=_FP32, calibration=(), folder=work.folder / "exported") as graphs:
            middle = graphs.make([shape.middle] * shape.layers)
            asked = reader.varied(selection.inputs, task.max_batch_tokens, longest_text(config))
            variant = self._plain
            if self._race is not None:
                variant = quick_race(
                    middle,
                    [exports.known(batch) for batch in asked],
                    self._target,
                    self._rules,
                    tolerance=self._export.tolerance,
                    calibration=calibration,
                    batches=batches,
                    runner=self._runner,
                    folder=work.folder,
                )
        progress(_BEFORE_TIMING - 1)

        # The models' times.
        narrowed = shape.layers > 1 and is_narrowed(exports.files[0], variant.rewrites)
        design = design_for(shape, narrowed=narrowed, seed=work.seed)
        with form(
            rewrites=variant.rewrites,
            settings=variant.precision,
            calibration=calibration,
            folder=work.folder / "graphs",
        ) as graphs:
            paths = {_words(layers): graphs.make(layers) for layers in design.all}
            progress(_BEFORE_TIMING)
            samples_ms = time_graphs(
                self._runner,
                paths,
                provider=self._target.runtime.provider,
                session=variant.raced_session,
                batches=batches,
                processes=_PROCESSES,
                seed=work.seed,
                samples_file=work.folder / "samples.jsonl",
                progress=lambda process: progress(_BEFORE_TIMING + process),
            )
        for file in exports.files:
            remove_graph(file)
        table = _table(design, shape, samples_ms, variant, narrowed=narrowed)
        (work.folder / COSTS).write_text(table.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return StageMetrics(scores={"prediction_error": table.prediction_error, "least_ms": table.p50.least})


def _table(
    design: Design,
    shape: Shape,
    samples_ms: Mapping[str, Sequence[Sequence[float]]],
    variant: Variant,
    *,
    narrowed: bool,
) -> CostTable:
    """Make the table of the samples of every model."""

    def times(models: Sequence[Layers], q: int) -> dict[Layers, float]:
        found = {layers: percentile(samples_ms[_words(layers)], q) for layers in models}
        return {layers: time for layers, time in found.items() if time is not None}

    p50, p90 = (fit_costs(times(design.fitted, q), shape, narrowed=narrowed) for q in (50, 90))
    return CostTable(
        p50=p50,
        p90=p90,
        layers=shape.layers,
        variant=variant,
        samples=_PROCESSES * _SAMPLES,
        validation=tuple(
            ValidationRow(layers=layers, predicted_ms=p50.of(layers), measured_ms=time)
            for layers, time in times(design.validation, 50).items()
        ),
    )


def _words(layers: Layers) -> str:
    """Name a model by its layers' heads and neurons, from the bottom up."""
    return " ".join(f"{heads}x{neurons}" for heads, neurons in layers)
