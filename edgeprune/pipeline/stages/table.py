"""table: measure on the target what a layer costs at each number of heads and each FFN width, by the hidden size.

Models of the family with random weights are timed as whole graphs, in the form that is shipped: rewritten, in the
target's precision, with a race's session options. A race on a model of middle sizes chooses the form. Inputs come from
the selection split, as the race's do, and all graphs take turns on the same inputs, those of smaller hidden sizes too.

The stage writes `costs.json` (the verdict: a `CostTable`) and `samples.jsonl`. It needs no weights and no parents, so
that it runs before anything is trained: a latency budget that no model of the family can keep is known early.

A table is a measurement that is made once for its inputs and then kept, as a race is.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from edgeprune.benchmark.graph_timer import time_graphs
from edgeprune.benchmark.statistics import percentile
from edgeprune.devices import Runner
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.given import Given, read_given
from edgeprune.profiles.pipeline import ExportConfig, RaceConfig
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.target import Target
from edgeprune.profiles.variant import RewriteRules, Variant
from edgeprune.search.costs import COSTS, CostTable, MeasuredCosts, NarrowerCosts, ValidationRow
from edgeprune.search.fit import fit_costs
from edgeprune.search.hidden_costs import hidden_sizes
from edgeprune.search.table_design import Design, Layers, Shape, design_for
from edgeprune.store.records import StageMetrics
from edgeprune.tasks.registry import IMAGE_TASKS, TaskName
from edgeprune.tasks.spec import ProblemType

if TYPE_CHECKING:
    from edgeprune.graph.sized_exports import SizedExports
    from edgeprune.models.reader import Inputs

__all__ = ["Table"]

_PROCESSES = 4
_SAMPLES = 40
"""Timed runs of each graph in each process: as many as a benchmark makes, so that both see the same mix of lengths."""
_FP32 = PrecisionSettings(mode="fp32")
_EXPORTS = 2
"""Exports for each hidden size."""


class Table(Stage):
    """Measure the costs of layers by their sizes.

    Args:
        race: The pipeline's `stages.race`; None: graphs get only the rewrites that need no measurement. A table's own
            race is always as short.
        align: FFN widths and smaller hidden sizes are multiples of this.
        keep_hidden: Fractions of the model's hidden size that are timed, from 1 down.
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
        keep_hidden: tuple[float, ...] = (1.0,),
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
        self._keep_hidden = keep_hidden
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
            **({"keep_hidden": list(self._keep_hidden)} if len(self._keep_hidden) > 1 else {}),
        }

    @property
    def _plain(self) -> Variant:
        session = SessionOptions(threads=self._target.runtime.threads)
        return Variant(rewrites=self._rules.plain, precision=self._target.precision_settings, session=session)

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.benchmark.workload import batches_of
        from edgeprune.graph.calibration_rows import feeds_of
        from edgeprune.graph.sized_graphs import SizedGraphs, is_narrowed
        from edgeprune.models.architectures import architecture_of, layer_sizes, longest_text
        from edgeprune.models.checkpoint import empty_model
        from edgeprune.models.width import hidden_size_of
        from edgeprune.pipeline.quick_race import quick_race
        from edgeprune.tasks.prepared import Split, select

        given = read_given(
            work,
            self._task,
            problem_type=self._problem_type,
            max_length=self._max_length,
            selection_share=self._selection_share,
        )
        config, task, reader = given.config, given.task, given.reader
        contents = select(given.tables, {"selection": given.rows["selection"]})["selection"].contents
        selection = Split(contents, task.encode(reader, contents), None)
        for name, value in task.config_overrides().items():
            setattr(config, name, value)
        model = empty_model(config, given.record, task.auto_class, **task.model_arguments(config.model_type))
        shape = Shape.of(layer_sizes(model), align=self._align)
        sizes = hidden_sizes(hidden_size_of(model), self._keep_hidden, align=self._align)
        before_timing = _EXPORTS * len(sizes) + 2  # a race, and the graphs

        def progress(done: int) -> None:
            work.progress(done, before_timing + _PROCESSES, "steps")

        templates = work.folder / "exports"
        exports = self._exports(given, selection.inputs, shape, sizes, templates, progress)
        dense = exports[sizes[0]]
        forms = {
            size: partial(SizedGraphs, one.files, one.sizes, architecture_of(config)) for size, one in exports.items()
        }
        calibration = [dense.known(feed) for feed in feeds_of(selection, reader)[0]]
        batches, _ = batches_of(selection, reader, self._target.workload, _SAMPLES, seed=work.seed)
        batches = [dense.known(cast("dict[str, Any]", batch)) for batch in batches]

        with forms[sizes[0]](rewrites=(), settings=_FP32, calibration=(), folder=work.folder / "exported") as graphs:
            middle = graphs.make([shape.middle] * shape.layers)
            asked = reader.varied(selection.inputs, task.max_batch_tokens, longest_text(config))
            variant = self._plain
            if self._race is not None:
                variant = quick_race(
                    middle,
                    [dense.known(batch) for batch in asked],
                    self._target,
                    self._rules,
                    tolerance=self._export.tolerance,
                    calibration=calibration,
                    batches=batches,
                    runner=self._runner,
                    folder=work.folder,
                )
        progress(before_timing - 1)

        # The models' times.
        narrowed = shape.layers > 1 and is_narrowed(dense.files[0], variant.rewrites)
        designs = {size: design_for(shape, narrowed=narrowed, seed=work.seed, coarse=size < sizes[0]) for size in sizes}
        with ExitStack() as stack:
            paths: dict[str, Path] = {}
            for size, form in forms.items():
                graphs = stack.enter_context(
                    form(
                        rewrites=variant.rewrites,
                        settings=variant.precision,
                        calibration=calibration,
                        folder=work.folder / f"graphs-{size}",
                    )
                )
                paths |= {_words(layers, size, sizes[0]): graphs.make(layers) for layers in designs[size].all}
            progress(before_timing)
            samples_ms = time_graphs(
                self._runner,
                paths,
                provider=self._target.runtime.provider,
                session=variant.raced_session,
                batches=batches,
                processes=_PROCESSES,
                seed=work.seed,
                samples_file=work.folder / "samples.jsonl",
                progress=lambda process: progress(before_timing + process),
            )
        shutil.rmtree(templates)
        table = _table(designs, shape, samples_ms, variant, narrowed=narrowed)
        (work.folder / COSTS).write_text(table.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return StageMetrics(scores={"prediction_error": table.prediction_error, "least_ms": table.least_ms[0]})

    def _exports(
        self,
        given: Given,
        rows: Sequence["Inputs"],
        shape: Shape,
        sizes: Sequence[int],
        folder: Path,
        progress: Callable[[int], None],
    ) -> dict[int, "SizedExports"]:
        """Export models of every hidden size, each in a folder of its own."""
        from edgeprune.graph.sized_exports import export_sizes

        dense, *narrower = sizes
        rank = self._embedding_rank or (None if given.record is None else given.record.embedding_rank)
        whole = None if given.record is None else given.record.hidden
        # Weights are random, so that any dimensions may be those that are left.
        dimensions = {dense: whole, **{size: (whole or tuple(range(dense)))[:size] for size in narrower}}
        exports: dict[int, SizedExports] = {}
        for number, size in enumerate(sizes):

            def exported(done: int, before: int = _EXPORTS * number) -> None:
                progress(before + done)

            (folder / str(size)).mkdir(parents=True)
            exports[size] = export_sizes(
                given.config,
                range(shape.layers) if given.record is None else list(given.record.positions()),
                given.task,
                given.reader,
                rows,
                folder / str(size),
                opset=self._export.opset,
                settings=self._target.precision_settings,
                progress=exported,
                hidden=dimensions[size],
                embedding_rank=rank,
            )
        return exports


def _table(
    designs: Mapping[int, Design],
    shape: Shape,
    samples_ms: Mapping[str, Sequence[Sequence[float]]],
    variant: Variant,
    *,
    narrowed: bool,
) -> CostTable:
    """Make the table of the samples of every model, by the hidden size."""
    dense, *narrower = designs

    def times(size: int, models: Sequence[Layers], q: int) -> dict[Layers, float]:
        found = {layers: percentile(samples_ms[_words(layers, size, dense)], q) for layers in models}
        return {layers: time for layers, time in found.items() if time is not None}

    def fitted(size: int) -> MeasuredCosts:
        p50, p90 = (fit_costs(times(size, designs[size].fitted, q), shape, narrowed=narrowed) for q in (50, 90))
        validation = tuple(
            ValidationRow(layers=layers, predicted_ms=p50.of(layers), measured_ms=time)
            for layers, time in times(size, designs[size].validation, 50).items()
        )
        return MeasuredCosts(p50=p50, p90=p90, validation=validation)

    return CostTable(
        **dict(fitted(dense)),
        layers=shape.layers,
        variant=variant,
        samples=_PROCESSES * _SAMPLES,
        narrower=tuple(NarrowerCosts(**dict(fitted(size)), hidden=size) for size in narrower),
    )


def _words(layers: Layers, hidden: int, dense: int) -> str:
    """Name a model by its layers' heads and neurons, from the bottom up, and by its hidden size if it is a smaller one."""
    words = " ".join(f"{heads}x{neurons}" for heads, neurons in layers)
    return words if hidden == dense else f"{words} of {hidden}"
