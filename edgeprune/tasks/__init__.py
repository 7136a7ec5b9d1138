"""Tasks: what a model is for. The closed table of those that edgeprune handles, under optimum's names.

`TaskSpec` is what later stages and the package need to know of a task; it is light, and the task's code, which needs
torch, is imported by `task_for`.
"""

from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeprune.config import Frozen
from edgeprune.errors import ModelError, UsageError

if TYPE_CHECKING:
    from edgeprune.tasks.base import Task

__all__ = [
    "POSTPROCESS",
    "ProblemType",
    "TaskName",
    "TaskSpec",
    "is_labelled",
    "resolve_problem_type",
    "resolve_task",
    "task_for",
]

TaskName = Literal["text-classification", "feature-extraction"]
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]

_LABELLED: dict[TaskName, bool] = {"text-classification": True, "feature-extraction": False}

POSTPROCESS: dict[TaskName, str] = {
    "text-classification": "postprocess_text_classification",
    "feature-extraction": "postprocess_feature_extraction",
}
"""The module of `edgeprune/assets` that turns outputs into answers in a package."""

_BY_CLASS_SUFFIX: dict[str, TaskName] = {
    "ForSequenceClassification": "text-classification",
    "Model": "feature-extraction",
}


class TaskSpec(Frozen):
    """`task.json`: the task, resolved for one model and its data."""

    task: TaskName
    problem_type: ProblemType | None = None
    """Of a text classification; None for other tasks."""
    labels: tuple[str, ...] = ()
    """In the order of the model's outputs."""
    max_length: int
    """Tokens a text is cut to."""
    inputs: tuple[str, ...]
    """Names of the model's inputs, `input_ids` first."""
    pooling: Literal["mean", "cls"] | None = None
    """How a sentence embedding is made of token states; None for other tasks."""
    normalize: bool = False
    """Whether a sentence embedding is scaled to length one."""


def resolve_task(asked: str | None, config: dict[str, Any]) -> TaskName:
    """The task asked for (optimum's names and synonyms), or the one the checkpoint's architecture is for.

    Raises:
        UsageError: A task that edgeprune doesn't handle.
        ModelError: An architecture that says nothing, and no task asked for.
    """
    if asked is not None:
        name = asked
        if name not in get_args(TaskName):
            from optimum.exporters.tasks import TasksManager

            name = TasksManager.map_from_synonym(asked)
        for known in get_args(TaskName):
            if name == known:
                return known  # type: ignore[no-any-return]
        raise UsageError(f"the task {asked!r} is not one of {', '.join(get_args(TaskName))}")
    architecture = next(iter(config.get("architectures") or []), "")
    for suffix, task in _BY_CLASS_SUFFIX.items():
        if architecture.endswith(suffix):
            return task
    raise ModelError(
        f"the checkpoint's architecture ({architecture or 'none named'}) belongs to no task that edgeprune handles; "
        f"say which with --task ({', '.join(get_args(TaskName))})"
    )


def is_labelled(task: TaskName) -> bool:
    """Whether the task's data has a label column."""
    return _LABELLED[task]


def resolve_problem_type(asked: str | None, task: TaskName) -> ProblemType | None:
    """The problem type asked for.

    Raises:
        UsageError: There is no such type, or the task has none.
    """
    if asked is None:
        return None
    if task != "text-classification":
        raise UsageError(f"--problem-type is for text-classification, the task here is {task}")
    for known in get_args(ProblemType):
        if asked == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"--problem-type {asked!r} is not one of {', '.join(get_args(ProblemType))}")


def task_for(spec: TaskSpec) -> "Task":
    """The task's code."""
    from edgeprune.tasks.feature_extraction import FeatureExtraction
    from edgeprune.tasks.text_classification import TextClassification

    classes: dict[TaskName, type[Task]] = {
        "text-classification": TextClassification,
        "feature-extraction": FeatureExtraction,
    }
    return classes[spec.task](spec)
