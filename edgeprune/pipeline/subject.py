"""Find the subject of a build: the model, its task, and the data. Light: no torch."""

from dataclasses import dataclass, replace

from edgeprune.data.source import DataSource
from edgeprune.data.table import DataSpec
from edgeprune.models.reference import ModelSource, resolve_model
from edgeprune.tasks.labels import require_label_names
from edgeprune.tasks.registry import COLUMNS, TASKS, TAUGHT_ONLY, TaskName
from edgeprune.tasks.resolve import has_head, resolve_problem_type, resolve_task
from edgeprune.tasks.spec import ProblemType

__all__ = ["Subject", "find_subject"]


@dataclass(frozen=True)
class Subject:
    """Hold the model that is pruned, its task, and the rows that it learns from and is measured on."""

    model: ModelSource
    data: DataSource
    task: TaskName
    problem_type: ProblemType | None
    """The kind of a classification; None: the checkpoint or the labels decide it, or the task has none."""
    unlabelled: DataSource | None = None
    """Rows without labels that a pruned model learns from; None: there are none."""

    @property
    def unlabelled_digest(self) -> str | None:
        """Digest of the rows without labels; None: there are none."""
        return None if self.unlabelled is None else self.unlabelled.digest

    @property
    def has_head(self) -> bool:
        """Whether no head is trained before pruning: the checkpoint has the task's head, or the task needs none."""
        return self.task in TAUGHT_ONLY or has_head(self.task, self.model.config.get("architectures"))


def find_subject(
    model: str,
    data: DataSpec,
    *,
    unlabelled: DataSpec | None = None,
    task: str | None = None,
    problem_type: str | None = None,
    offline: bool = False,
) -> Subject:
    """Resolve a model's reference, its task, and the columns that the task reads.

    Args:
        model: A local folder, a hub id with @revision, or package:NAME/FOLDER.
        data: Where the rows are.
        unlabelled: Where more rows are, whose labels aren't read.
        task: One of optimum's task names; None: the checkpoint's architecture says the task.
        problem_type: The kind of a text or image classification; None: the checkpoint or the labels decide it.
        offline: Whether the network is never asked for the model or the data.

    Raises:
        UsageError: The model, the task or the data can't be used.
    """
    source = resolve_model(model, offline=offline)
    name = resolve_task(task, source.config)
    kind = resolve_problem_type(problem_type, name)
    columns = COLUMNS[name]
    more = None
    if unlabelled is not None:
        more = DataSource(unlabelled, columns=replace(columns, label=()), offline=offline, splits=("train",))
    subject = Subject(source, DataSource(data, columns=columns, offline=offline), name, kind, more)
    if subject.has_head and TASKS[name].head.endswith("Classification"):
        require_label_names(source.config, source.folder / "config.json")
    return subject
