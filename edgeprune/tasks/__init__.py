"""Tasks: what a model is for. The closed table of those that edgeprune handles, under optimum's names.

`TaskSpec` is what later stages and the package need to know of a task; it is light, and the task's code, which needs
torch, is imported by `resolve_spec` and `task_for`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeprune.base.errors import ModelError, UsageError
from edgeprune.base.strict_yaml import Frozen
from edgeprune.data.table import Columns
from edgeprune.models.reference import reads_images

if TYPE_CHECKING:
    from edgeprune.models.reader import Reader
    from edgeprune.tasks.base import Source, Task

__all__ = [
    "COLUMNS",
    "IMAGE_TASKS",
    "POSTPROCESS",
    "PREPROCESS",
    "TAUGHT_ONLY",
    "WHOLE_TEXTS",
    "ProblemType",
    "TaskName",
    "TaskSpec",
    "load_reader",
    "resolve_problem_type",
    "resolve_spec",
    "resolve_task",
    "task_for",
]

TaskName = Literal[
    "text-classification",
    "token-classification",
    "question-answering",
    "fill-mask",
    "feature-extraction",
    "image-classification",
    "image-feature-extraction",
]
ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]

_TEXT = ("text", "sentence", "content", "review", "document", "utterance", "query", "title", "comment")
_IMAGE = ("image", "img", "image_path", "file", "path")
_LABEL = ("label", "labels", "target", "class", "category", "score", "rating", "sentiment", "topic", "intent")

COLUMNS: dict[TaskName, Columns] = {
    "text-classification": Columns(content=_TEXT, pair=(), label=_LABEL),
    "token-classification": Columns(content=("tokens", "words"), label=("ner_tags", "tags", *_LABEL), words=True),
    "question-answering": Columns(content=("question",), pair=("context", "passage"), label=("answers", "answer")),
    "fill-mask": Columns(content=_TEXT),
    "feature-extraction": Columns(content=_TEXT),
    "image-classification": Columns(content=_IMAGE, label=_LABEL, images=True),
    "image-feature-extraction": Columns(content=_IMAGE, images=True),
}
"""The columns that a task's data has, by the names they are guessed from."""

IMAGE_TASKS: frozenset[TaskName] = frozenset(name for name, columns in COLUMNS.items() if columns.images)

TAUGHT_ONLY: frozenset[TaskName] = frozenset({"feature-extraction", "image-feature-extraction"})
"""Tasks without a loss of their own: they learn from the dense model alone."""

WHOLE_TEXTS: frozenset[TaskName] = frozenset({"text-classification", "feature-extraction"})
"""Tasks with one answer a text, whatever the text: any two pieces make another."""

PREPROCESS: dict[TaskName, str] = {
    name: "preprocess_image" if name in IMAGE_TASKS else "preprocess_text" for name in COLUMNS
}
"""The module of `edgeprune/ondevice` that makes the model's inputs in a package."""

POSTPROCESS: dict[TaskName, str] = {
    "text-classification": "postprocess_classification",
    "token-classification": "postprocess_token_classification",
    "question-answering": "postprocess_question_answering",
    "fill-mask": "postprocess_fill_mask",
    "feature-extraction": "postprocess_feature_extraction",
    "image-classification": "postprocess_classification",
    "image-feature-extraction": "postprocess_feature_extraction",
}
"""The one that turns outputs into answers."""

_BY_CLASS_SUFFIX: dict[str, TaskName] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForImageClassification": "image-classification",
}
"""Not ForMaskedLM: most often such a checkpoint is where another task starts from."""

_CLASSIFICATIONS: tuple[TaskName, ...] = ("text-classification", "image-classification")


class TaskSpec(Frozen):
    """`task.json`: the task, resolved for one model and its data."""

    task: TaskName
    problem_type: ProblemType | None = None
    """Of a classification of texts or images; None for other tasks."""
    labels: tuple[str, ...] = ()
    """In the order of the model's outputs."""
    max_length: int | None = None
    """Tokens a text is cut to; None for images."""
    inputs: tuple[str, ...]
    """Names of the model's inputs."""
    pair: bool = False
    """Whether a row is two texts."""
    unanswerable: bool = False
    """Whether a question may have no answer in its context."""
    pooling: Literal["mean", "cls"] | None = None
    """How an embedding is made of token states; None for other tasks."""
    normalize: bool = False
    """Whether an embedding is scaled to length one."""


def resolve_task(asked: str | None, config: dict[str, Any]) -> TaskName:
    """The task asked for (optimum's names and synonyms), or the one the checkpoint's architecture is for.

    Args:
        asked: None: what the checkpoint is for.
        config: The model's config.json.

    Raises:
        UsageError: A task that edgeprune doesn't handle, or of texts where the model reads images, or the reverse.
        ModelError: An architecture that says nothing, and no task asked for.
    """
    task = _asked_or_named(asked, config)
    images = reads_images(config)
    if images != (task in IMAGE_TASKS):
        fitting = [name for name in get_args(TaskName) if images == (name in IMAGE_TASKS)]
        raise UsageError(
            f"the model reads {'images' if images else 'texts'}, which {task} is not for; its tasks are "
            f"{', '.join(fitting)} (--task)"
        )
    return task


def _asked_or_named(asked: str | None, config: dict[str, Any]) -> TaskName:
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
    if architecture.endswith("Model"):
        return "image-feature-extraction" if reads_images(config) else "feature-extraction"
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
    if task not in _CLASSIFICATIONS:
        raise UsageError(f"--problem-type is for {' and '.join(_CLASSIFICATIONS)}, the task here is {task}")
    for known in get_args(ProblemType):
        if asked == known:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"--problem-type {asked!r} is not one of {', '.join(get_args(ProblemType))}")


def resolve_spec(name: TaskName, source: "Source") -> TaskSpec:
    """The task for one model and its data."""
    spec: TaskSpec = _class_of(name).resolve(source)
    return spec


def load_reader(name: TaskName, folder: Path, max_length: int | None) -> "Reader":
    """What makes a task's inputs, from a model's folder; `max_length` as in `TaskSpec`."""
    reader: Reader = _class_of(name).load_reader(folder, max_length)
    return reader


def task_for(spec: TaskSpec) -> "Task":
    """The task's code."""
    task: Task = _class_of(spec.task)(spec)
    return task


def _class_of(name: TaskName) -> Any:
    from edgeprune.tasks.feature_extraction import FeatureExtraction, ImageFeatureExtraction
    from edgeprune.tasks.fill_mask import FillMask
    from edgeprune.tasks.image_classification import ImageClassification
    from edgeprune.tasks.question_answering import QuestionAnswering
    from edgeprune.tasks.text_classification import TextClassification
    from edgeprune.tasks.token_classification import TokenClassification

    return {
        "text-classification": TextClassification,
        "token-classification": TokenClassification,
        "question-answering": QuestionAnswering,
        "fill-mask": FillMask,
        "feature-extraction": FeatureExtraction,
        "image-classification": ImageClassification,
        "image-feature-extraction": ImageFeatureExtraction,
    }[name]
