"""prepare: a model reference and data → the dense baseline.

Writes `checkpoint/` (its head trained first where the checkpoint has none for the task), `task.json`, `splits.json` (row
numbers), the dense outputs on selection and test, and measures what a linear model reaches on the same rows (of TF-IDF, or
of 16 x 16 pixels): a user should know when no Transformer is needed.
"""

from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from edgeprune.base.errors import DataError, ModelError
from edgeprune.base.events import Note
from edgeprune.data.table import SplitName, Table
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.pipeline import PrepareConfig
from edgeprune.store.environment import NumericMode
from edgeprune.store.records import StageMetrics
from edgeprune.tasks.labels import labels_by_row
from edgeprune.tasks.registry import IMAGE_TASKS, TaskName
from edgeprune.tasks.spec import ProblemType, TaskSpec

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from edgeprune.models.reader import Array, Reader
    from edgeprune.tasks.example import Example
    from edgeprune.tasks.roles import Task

__all__ = ["Prepare"]

_SELECTION_SHARE = 0.1
_TEST_SHARE = 0.15
_FEWEST_ROWS = 4


class Prepare(Stage):
    """Makes the dense baseline.

    Args:
        config: The pipeline's `stages.prepare`.
        task: The task's name.
        problem_type: Of a classification; None: from the checkpoint, or from the labels.
        has_head: Whether the checkpoint says that it has the task's head; then none is trained.
        model_digest: Digest of the model's files.
        data_digest: Digest of the data.
        numeric: How training computes here.
    """

    name = "prepare"
    version = 3
    libraries: tuple[str, ...] = ("torch", "transformers", "accelerate", "scikit-learn", "tokenizers")
    produces = ("checkpoint/model.safetensors", "task.json", "splits.json", "outputs.safetensors")

    def __init__(
        self,
        config: PrepareConfig,
        *,
        task: TaskName,
        problem_type: ProblemType | None,
        has_head: bool,
        model_digest: str,
        data_digest: str,
        numeric: NumericMode,
    ) -> None:
        self._config = config
        self._max_length = None if task in IMAGE_TASKS else config.max_length
        if task in IMAGE_TASKS:
            self.libraries = (*self.libraries, "pillow")
        self._task = task
        self._problem_type = problem_type
        self._has_head = has_head
        self._model_digest = model_digest
        self._data_digest = data_digest
        self._numeric = numeric

    def fingerprint(self) -> dict[str, JsonValue]:
        return {
            "config": self._config.model_dump(
                mode="json", exclude={"max_length"} if self._max_length is None else None
            ),
            "task": self._task,
            "problem_type": self._problem_type,
            "model": self._model_digest,
            "data": self._data_digest,
            "numeric": self._numeric.model_dump(mode="json"),
        }

    def run(self, work: Work) -> StageMetrics:
        from transformers import set_seed

        from edgeprune.models.checkpoint import (
            count_parameters,
            load_checkpoint,
            load_config,
            load_dense,
            save_checkpoint,
        )
        from edgeprune.models.record import PruningRecord, read_pruning
        from edgeprune.tasks.evaluation import measure, predict_torch
        from edgeprune.tasks.prepared import OUTPUTS, save_outputs, select, write_rows
        from edgeprune.tasks.registry import load_reader, task_for
        from edgeprune.training.rows import Rows
        from edgeprune.training.trainer import train

        source = work.model.folder
        config = load_config(source)
        reader = load_reader(self._task, source, self._max_length)
        reader.require_fit(config)
        tables = work.data.load()
        for note in work.data.notes:
            work.emit(Note(note))
        task = task_for(self._spec(work, config, reader, tables))
        rows = _split(tables, task.spec, work.seed)
        splits = select(tables, rows)
        _warn_of_leaks(task, splits, work)
        references = {name: task.references(table, where=f"the {name} split") for name, table in splits.items()}
        examples = {name: task.encode(reader, table.contents, references[name]) for name, table in splits.items()}
        _warn_of_cut(task, examples, work)

        set_seed(work.seed)
        record: PruningRecord | None = read_pruning(source)
        if record is not None:
            model, missing = load_checkpoint(source, task.auto_class), frozenset[str]()
        else:
            for name, value in task.config_overrides().items():
                setattr(config, name, value)
            model, missing = load_dense(source, task.auto_class, config, **task.model_arguments(config.model_type))
        if missing and self._has_head:
            raise ModelError(
                f"{work.model.reference} should be a whole {config.architectures[0]} by its config.json, but lacks "
                f"{', '.join(sorted(missing)[:3])}; give all of its weights, or name the class that it is in config.json"
            )
        if missing:
            train(
                model,
                task,
                config=self._config,
                teacher=None,
                examples=examples["train"],
                selection=Rows(examples["selection"], references["selection"]),
                reader=reader,
                numeric=self._numeric,
                seed=work.seed,
                folder=work.partial,
                on_step=lambda done, total: work.progress(done, total, "steps"),
            )
        save_checkpoint(model, work.folder / "checkpoint", record=record, reader=reader)
        (work.folder / "task.json").write_text(task.spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (work.folder / "splits.json").write_text(write_rows(rows), encoding="utf-8")
        names: tuple[SplitName, ...] = ("selection", "test")
        outputs: dict[str, list[Array]] = {name: predict_torch(model, task, examples[name], reader) for name in names}
        save_outputs(outputs, work.folder / OUTPUTS)
        test_references = outputs["test"] if references["test"] is None else references["test"]
        metric = measure(task, outputs["test"], test_references, dense_outputs=None, seed=work.seed)
        linear = None
        if references["train"] is not None:
            linear = task.linear_baseline(splits["train"], references["train"], splits["test"], test_references)
        return StageMetrics(
            parameters=count_parameters(model),
            model_bytes=(work.folder / "checkpoint/model.safetensors").stat().st_size,
            metric=metric,
            linear=None if linear is None else metric.model_copy(update={"value": linear, "others": {}}),
        )

    def _spec(
        self, work: Work, config: "PreTrainedConfig", reader: "Reader", tables: dict[SplitName, Table]
    ) -> TaskSpec:
        from edgeprune.tasks.registry import resolve_spec
        from edgeprune.tasks.source import Source

        source = Source(
            task=self._task,
            folder=work.model.folder,
            config=config,
            inputs=reader.inputs,
            splits=tables,
            max_length=self._max_length,
            problem_type=self._problem_type,
            note=lambda message: work.emit(Note(message, level="info")),
        )
        return resolve_spec(source)


def _split(tables: dict[SplitName, Table], spec: TaskSpec, seed: int) -> dict[SplitName, tuple[SplitName, list[int]]]:
    """Given splits as they are; a seeded 15% of train for a missing test, then a tenth of the rest for a missing selection.

    What is split off has every label as often as the rest has, and leaves a row of each in train.

    Raises:
        DataError: Too few rows are left to train on, or too few that train doesn't need for its labels.
    """
    generator = np.random.default_rng(seed)
    labels = labels_by_row(tables["train"], spec)
    kept, known = set[int](), set[str]()
    order = generator.permutation(len(labels)).tolist()
    for row in order:
        if not labels[row] <= known:
            kept.add(row)
            known |= labels[row]
    order.sort(key=lambda row: sorted(labels[row]))  # the rows of a label in turn, in the order of the permutation
    result: dict[SplitName, tuple[SplitName, list[int]]] = {}
    names: tuple[SplitName, ...] = ("test", "selection")
    for name in names:
        if name in tables:
            result[name] = (name, list(range(len(tables[name].contents))))
            continue
        count = max(1, round((_TEST_SHARE if name == "test" else _SELECTION_SHARE) * len(order)))
        free = [row for row in order if row not in kept]
        if count > len(free):
            raise DataError(
                f"{len(known):,} labels in {len(labels):,} rows leave {len(free):,} rows for the {name} split, which takes "
                f"{count:,}: one of each label stays in training; give the split with --{name}-data, or more rows a label"
            )
        steps = (np.arange(count) + generator.random()) * (len(free) / count)
        chosen = {free[position] for position in steps.astype(int).tolist()}
        result[name] = ("train", sorted(chosen))
        order = [row for row in order if row not in chosen]
    if len(order) < _FEWEST_ROWS:
        raise DataError(f"only {len(order)} rows are left to train on; give more data")
    return {"train": ("train", sorted(order)), "selection": result["selection"], "test": result["test"]}


def _warn_of_cut(task: "Task", examples: dict[SplitName, "list[Example]"], work: Work) -> None:
    shares = {name: task.behind_cut(found) for name, found in examples.items()}
    where = f"behind the first {task.spec.max_length} tokens (stages.prepare.max_length)"
    if shares["train"] == 1:
        raise DataError(f"everything that the training rows ask for is {where}; raise it")
    if shares["test"]:
        work.emit(Note(f"{shares['test']:.1%} of what the test split asks for is {where} and counts as missed"))


def _warn_of_leaks(task: "Task", splits: dict[SplitName, Table], work: Work) -> None:
    trained, tested, kind = set(splits["train"].contents), splits["test"].contents, task.kind
    leaked = sum(content in trained for content in tested)
    if leaked:
        work.emit(Note(f"{leaked} of {len(tested)} test {kind}s are also training {kind}s; the metric flatters"))
