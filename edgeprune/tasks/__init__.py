"""Tasks: what a model is for. The closed table of those that edgeprune handles, under optimum's names.

`TaskSpec` is what later stages and the package need to know of a task; it is light, and the task's code, which needs
torch, is imported by `resolve_spec` and `task_for`.
"""

from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeprune.config import Frozen
from edgeprune.data import Columns
from edgeprune.errors import ModelError, UsageError

if TYPE_CHECKING:
    from edgeprune.tasks.base import Source, Task

__all__ = [
    "COLUMNS",
    "POSTPROCESS",
    "TAUGHT_ONLY",
    "ProblemType",
    "TaskName",
    "TaskSpec",
    "resolve_problem_type",
    "resolve_spec",
    "resolve_task",
    "task_for",
]

TaskName = Literal[
    "text-classification", "token-classification", "question-answering", "fill-mask", "feature-extraction"
]
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]

_TEXT = ("text", "sentence", "content", "review", "document", "utterance", "query", "title", "comment")
_LABEL = ("label", "labels", "target", "class", "category", "score", "rating", "sentiment", "topic", "intent")

COLUMNS: dict[TaskName, Columns] = {
    "text-classification": Columns(text=_TEXT, pair=(), label=_LABEL),
    "token-classification": Columns(text=("tokens", "words"), label=("ner_tags", "tags", *_LABEL), words=True),
    "question-answering": Columns(text=("question",), pair=("context", "passage"), label=("answers", "answer")),
    "fill-mask": Columns(text=_TEXT),
    "feature-extraction": Columns(text=_TEXT),
}
"""The columns that a task's data has, by the names they are guessed from."""

TAUGHT_ONLY: frozenset[TaskName] = frozenset({"feature-extraction"})
"""Tasks without a loss of their own: they learn from the dense model alone."""

POSTPROCESS: dict[TaskName, str] = {name: f"postprocess_{name.replace('-', '_')}" for name in get_args(TaskName)}
"""The module of `edgeprune/assets` that turns outputs into answers in a package."""

_BY_CLASS_SUFFIX: dict[str, TaskName] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "Model": "feature-extraction",
}
"""Not ForMaskedLM: most often such a checkpoint is where another task starts from."""


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
    pair: bool = False
    """Whether a row is two texts."""
    unanswerable: bool = False
    """Whether a question may have no answer in its context."""
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
        f"the checkpoint's architecture ({architecture or 'none named'}) doesn't say which task it is for; say it with "
        f"--task ({', '.join(get_args(TaskName))})"
    )


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


def resolve_spec(name: TaskName, source: "Source") -> TaskSpec:
    """The task for one model and its data."""
    spec: TaskSpec = _class_of(name).resolve(source)
    return spec


def task_for(spec: TaskSpec) -> "Task":
    """The task's code."""
    task: Task = _class_of(spec.task)(spec)
    return task


def _class_of(name: TaskName) -> Any:
    from edgeprune.tasks.feature_extraction import FeatureExtraction
    from edgeprune.tasks.fill_mask import FillMask
    from edgeprune.tasks.question_answering import QuestionAnswering
    from edgeprune.tasks.text_classification import TextClassification
    from edgeprune.tasks.token_classification import TokenClassification

    return {
        "text-classification": TextClassification,
        "token-classification": TokenClassification,
        "question-answering": QuestionAnswering,
        "fill-mask": FillMask,
        "feature-extraction": FeatureExtraction,
    }[name]
