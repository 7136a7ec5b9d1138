"""prepare: make the dense baseline from a model reference and data.

The stage writes `checkpoint/`, `task.json`, `splits.json` (row numbers), and the dense model's outputs on the selection
and the test split. If the checkpoint has no head for the task, the head is trained first. The stage also measures what
a linear model reaches on the same rows, from TF-IDF or from 16 x 16 pixels: a user should know when no Transformer is
needed.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from edgeprune.base.errors import DataError, ModelError
from edgeprune.base.events import Note
from edgeprune.data.table import SplitName, Table
from edgeprune.models.config_checks import architecture_named
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.given import read_given
from edgeprune.profiles.training import PrepareConfig
from edgeprune.store.environment import NumericMode
from edgeprune.store.records import StageMetrics
from edgeprune.tasks.registry import IMAGE_TASKS, TASKS, TAUGHT_ONLY, TaskName
from edgeprune.tasks.spec import ProblemType

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from edgeprune.models.reader import Array, Reader
    from edgeprune.tasks.example import Example
    from edgeprune.tasks.roles import Task
    from edgeprune.training.rows import Rows

__all__ = ["Prepare"]


_UNTRAINED: dict[str, JsonValue] = {"epochs": 2, "patience": None, "learning_rate": 1e-4}
"""What the keys of dense models that aren't trained have of a training: its defaults when the first such key was made."""


class Prepare(Stage):
    """Make the dense baseline.

    Args:
        config: The pipeline's `stages.prepare`.
        task: The task's name.
        problem_type: The kind of a classification; None: the checkpoint or the labels decide it, or the task has none.
        has_head: Whether the checkpoint's config says that it has the task's head. Then no head is trained.
        model_digest: Digest of the model's files.
        data_digest: Digest of the data.
        numeric: The numeric mode of training on this machine.
    """

    name = "prepare"
    version = 5
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
        config = self._config.model_dump(mode="json", exclude={"max_length"} if self._max_length is None else None)
        return {
            "config": config | (_UNTRAINED if self._has_head else {}),
            "task": self._task,
            "problem_type": self._problem_type,
            "model": self._model_digest,
            "data": self._data_digest,
            "numeric": self._numeric.model_dump(mode="json"),
            **({} if self._has_head else self._config.key_parts),
        }

    def run(self, work: Work) -> StageMetrics:
        from transformers import set_seed

        from edgeprune.models.checkpoint import count_parameters, save_checkpoint
        from edgeprune.tasks.evaluation import measure, predict_torch
        from edgeprune.tasks.prepared import OUTPUTS, save_outputs, select, write_rows
        from edgeprune.training.rows import Rows

        given = read_given(
            replace(work, seed=self.split_seed(work)),
            self._task,
            problem_type=self._problem_type,
            max_length=self._max_length,
            selection_share=self._config.selection_share,
        )
        config, record, reader, task, rows = given.config, given.record, given.reader, given.task, given.rows
        for note in given.notes:
            work.emit(note)
        splits = select(given.tables, rows)
        set_seed(work.seed)
        model, missing = self._load(work, config, task, is_pruned=record is not None)
        _warn_of_leaks(task, splits, work)
        references = {name: task.references(table, where=f"the {name} split") for name, table in splits.items()}
        examples = {name: task.encode(reader, table.contents, references[name]) for name, table in splits.items()}
        _warn_of_cut(task, examples, work)
        scores: dict[str, float] = {}
        if missing:
            selection = Rows(examples["selection"], references["selection"])
            scores = self._train(work, model, task, examples["train"], selection, reader)
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
            scores=scores,
        )

    def split_seed(self, work: Work) -> int:
        """Give the seed by which the rows are divided."""
        return work.seed

    def _train(
        self,
        work: Work,
        model: "PreTrainedModel",
        task: "Task",
        examples: "list[Example]",
        selection: "Rows",
        reader: "Reader",
    ) -> dict[str, float]:
        """Train the model, with each learning rate that is asked for. Give the metric on selection by learning rate."""
        from edgeprune.training.candidates import train_best
        from edgeprune.training.trainer import train

        trainings = self._config.trainings(len(examples))

        def train_in_way(number: int, folder: Path) -> float:
            return train(
                model,
                task,
                config=trainings[number],
                teacher=None,
                examples=examples,
                selection=selection,
                reader=reader,
                numeric=self._numeric,
                seed=work.seed,
                folder=folder,
                on_step=lambda done, most: work.progress(number * most + done, len(trainings) * most, "steps"),
            )

        metrics = dict(
            zip(
                (f"{one.learning_rate:g}" for one in trainings),
                train_best(model, len(trainings), train_in_way, work.partial),
                strict=True,
            )
        )
        if len(metrics) > 1:
            tried = ", ".join(f"{rate}: {metric:.3f}" for rate, metric in metrics.items())
            work.emit(
                Note(
                    f"{task.metric_name} on the selection split by learning rate, of which the best is kept: {tried}",
                    level="info",
                )
            )
        return {f"selection_{task.metric_name}_at_{rate}": metric for rate, metric in metrics.items()}

    def _load(
        self, work: Work, config: "PreTrainedConfig", task: "Task", *, is_pruned: bool
    ) -> "tuple[PreTrainedModel, frozenset[str]]":
        """Load the model, and name the weights that must be trained first; tell what of the checkpoint isn't used."""
        from edgeprune.models.checkpoint import load_checkpoint
        from edgeprune.models.dense import class_named, load_dense, some_of

        source, named = work.model.folder, architecture_named(work.model.config)
        if is_pruned:
            return load_checkpoint(source, task.auto_class), frozenset()
        for name, value in task.config_overrides().items():
            setattr(config, name, value)
        renew = not self._has_head and TASKS[self._task].named_by_head
        arguments = task.model_arguments(config.model_type)
        dense = load_dense(source, task.auto_class, config, renew_answers=renew, **arguments)
        if dense.missing and self._has_head:
            instead = f" and has {some_of(dense.unused)} instead" if dense.unused else ""
            raise ModelError(
                f"{work.model.reference} should be a whole {named} by its config.json, but lacks {some_of(dense.missing)}"
                f"{instead}; give all of its weights under these names, or name in config.json (architectures) the class "
                f"that the weights are of"
            )
        if dense.renewed and class_named(named) is None:
            raise ModelError(
                f"{work.model.reference} has {some_of(dense.renewed)}, but its config.json names no class that says what "
                f"they were trained for; set architectures there, to ['{type(dense.model).__name__}'] to keep them for "
                f"{self._task}, or to ['{type(dense.model.base_model).__name__}'] to train new ones"
            )
        if dense.renewed:
            work.emit(
                Note(
                    f"the checkpoint's {some_of(dense.renewed)} are those of a {named}: they are made anew and trained",
                    level="info",
                )
            )
        if dense.unused:
            own = (
                self._task not in TAUGHT_ONLY and self._has_head and any("pooler." not in name for name in dense.unused)
            )
            doubt = "; if it was trained with them, its answers were others" if own else ""
            work.emit(
                Note(
                    f"{len(dense.unused)} of the checkpoint's weights are not used, for a {type(dense.model).__name__} has "
                    f"no place for them: {some_of(dense.unused)}{doubt}",
                    level="warning" if own else "info",
                )
            )
        return dense.model, dense.missing


def _warn_of_cut(task: "Task", examples: dict[SplitName, "list[Example]"], work: Work) -> None:
    shares = {name: task.behind_cut(found) for name, found in examples.items()}
    where = f"behind the first {task.spec.max_length} tokens (stages.prepare.max_length)"
    if shares["train"] == 1:
        raise DataError(f"everything that the training rows ask for is {where}; raise max_length")
    if shares["test"]:
        work.emit(Note(f"{shares['test']:.1%} of what the test split asks for is {where} and counts as missed"))


def _warn_of_leaks(task: "Task", splits: dict[SplitName, Table], work: Work) -> None:
    trained, tested, kind = set(splits["train"].contents), splits["test"].contents, task.kind
    leaked = sum(content in trained for content in tested)
    if leaked:
        work.emit(Note(f"{leaked} of {len(tested)} test {kind}s are also training {kind}s; the metric flatters"))
