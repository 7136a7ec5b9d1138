"""List the tasks that edgeprune handles, under optimum's names, in one closed table.

An entry of `TASKS` says what other packages need to know about a task before its code runs. The code itself needs
torch; `task_for` and `resolve_spec` import it, so that importing this module is light. The other constants are views of
the table:

    source = DataSource(DataSpec(train="reviews.jsonl"), columns=COLUMNS["text-classification"], offline=False)
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from edgeprune.base.errors import IntegrityError
from edgeprune.data.table import Columns

if TYPE_CHECKING:
    from edgeprune.models.reader import Reader
    from edgeprune.tasks.roles import Task
    from edgeprune.tasks.source import Source
    from edgeprune.tasks.spec import TaskSpec

__all__ = [
    "COLUMNS",
    "IMAGE_TASKS",
    "NEEDS_LABELS",
    "TASKS",
    "TAUGHT_ONLY",
    "WHOLE_TEXTS",
    "TaskEntry",
    "TaskName",
    "load_reader",
    "ondevice_modules",
    "resolve_spec",
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
"""The keys of `TASKS`, in its order."""


@dataclass(frozen=True, kw_only=True)
class TaskEntry:
    """Hold what is known about a task without its code."""

    code: str
    """The module of `edgeprune/tasks` and the class in it, as `module:Class`."""
    columns: Columns
    """The columns that the task's data has, with the names that each is guessed from."""
    postprocess: str
    """The module of `edgeprune/ondevice` that turns outputs into answers in a package."""
    head: str
    """The end of the class name of a checkpoint that was trained for this task."""
    named_by_head: bool = True
    """Whether a checkpoint of that class is for this task unless another task is asked for."""
    problem_types: bool = False
    """Whether the task has a problem type: whether a row has one label, several, or a number."""
    taught_only: bool = False
    """Whether the task has no loss of its own, and learns from the dense model alone."""
    whole_texts: bool = False
    """Whether the task gives one answer for any text, so that pieces of two texts make another valid text."""
    needs_labels: bool = False
    """Whether a row's label says which of the model's outputs are read, so that rows without labels teach nothing."""

    @property
    def preprocess(self) -> str:
        """Name the module of `edgeprune/ondevice` that makes the model's inputs in a package."""
        return "preprocess_image" if self.columns.images else "preprocess_text"


_TEXT = ("text", "sentence", "content", "review", "document", "utterance", "query", "title", "comment")
_IMAGE = ("image", "img", "image_path", "file", "path")
_LABEL = ("label", "labels", "target", "class", "category", "score", "rating", "sentiment", "topic", "intent")

TASKS: dict[TaskName, TaskEntry] = {
    "text-classification": TaskEntry(
        code="text_classification:TextClassification",
        columns=Columns(content=_TEXT, pair=(), label=_LABEL),
        postprocess="postprocess_classification",
        head="ForSequenceClassification",
        problem_types=True,
        whole_texts=True,
    ),
    "token-classification": TaskEntry(
        code="token_classification:TokenClassification",
        columns=Columns(content=("tokens", "words"), label=("ner_tags", "tags", *_LABEL), words=True),
        postprocess="postprocess_token_classification",
        head="ForTokenClassification",
        needs_labels=True,
    ),
    "question-answering": TaskEntry(
        code="question_answering:QuestionAnswering",
        columns=Columns(content=("question",), pair=("context", "passage"), label=("answers", "answer")),
        postprocess="postprocess_question_answering",
        head="ForQuestionAnswering",
        needs_labels=True,
    ),
    "fill-mask": TaskEntry(
        code="fill_mask:FillMask",
        columns=Columns(content=_TEXT),
        postprocess="postprocess_fill_mask",
        head="ForMaskedLM",
        named_by_head=False,  # most often, another task starts from such a checkpoint
    ),
    "feature-extraction": TaskEntry(
        code="feature_extraction:FeatureExtraction",
        columns=Columns(content=_TEXT),
        postprocess="postprocess_feature_extraction",
        head="Model",
        taught_only=True,
        whole_texts=True,
    ),
    "image-classification": TaskEntry(
        code="image_classification:ImageClassification",
        columns=Columns(content=_IMAGE, label=_LABEL, images=True),
        postprocess="postprocess_classification",
        head="ForImageClassification",
        problem_types=True,
    ),
    "image-feature-extraction": TaskEntry(
        code="image_feature_extraction:ImageFeatureExtraction",
        columns=Columns(content=_IMAGE, images=True),
        postprocess="postprocess_feature_extraction",
        head="Model",
        taught_only=True,
    ),
}

COLUMNS = {name: entry.columns for name, entry in TASKS.items()}
IMAGE_TASKS = frozenset(name for name, entry in TASKS.items() if entry.columns.images)
TAUGHT_ONLY = frozenset(name for name, entry in TASKS.items() if entry.taught_only)
NEEDS_LABELS = frozenset(name for name, entry in TASKS.items() if entry.needs_labels)
WHOLE_TEXTS = frozenset(name for name, entry in TASKS.items() if entry.whole_texts)


def resolve_spec(source: "Source") -> "TaskSpec":
    """Resolve a task for one model and its data.

    Raises:
        DataError: The labels can't be learned from, or an image can't be read.
    """
    return _code(source.task).resolve(source)


def task_for(spec: "TaskSpec") -> "Task":
    """Create the task that a spec describes."""
    return _code(spec.task)(spec)


def load_reader(name: TaskName, folder: Path, max_length: int | None) -> "Reader":
    """Load the reader that makes a task's inputs from a model's folder; `max_length` is as in `TaskSpec`."""
    if name in IMAGE_TASKS:
        from edgeprune.models.image_reader import load_image_reader

        return load_image_reader(folder)
    from edgeprune.models.text_reader import load_text_reader

    assert max_length is not None  # noqa: S101 (a task on texts always has one)
    return load_text_reader(folder, max_length)


def ondevice_modules(task: str) -> tuple[ModuleType, ModuleType]:
    """Import what makes the inputs of a package's model and what reads its outputs, by the task that the package names.

    Raises:
        IntegrityError: It names none that is handled here.
    """
    entry = next((entry for name, entry in TASKS.items() if name == task), None)
    if entry is None:
        raise IntegrityError(
            f"the package is for {task[:80]!r}, which is no task of this edgeprune; use the one that made it"
        )
    preprocess, postprocess = (
        import_module(f"edgeprune.ondevice.{one}") for one in (entry.preprocess, entry.postprocess)
    )
    return preprocess, postprocess


def _code(name: TaskName) -> "type[Task]":
    found: type[Task] = resolve_name(f"edgeprune.tasks.{TASKS[name].code}")
    return found
