"""Hold a task as it was resolved for one model and its data: what `task.json` says. The module needs no torch."""

from typing import Literal

from edgeprune.base.strict_yaml import Frozen
from edgeprune.tasks.registry import TaskName

__all__ = ["LabelForm", "ProblemType", "TaskSpec"]

ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
"""What a classification's labels are, in transformers' words."""

LabelForm = Literal["name", "position", "vector"]
"""How the data writes a label: by its name, by its position among the model's, or by a vector of 0 and 1 for all of them."""


class TaskSpec(Frozen):
    """Hold `task.json`: the task, resolved for one model and its data."""

    task: TaskName
    problem_type: ProblemType | None = None
    """The problem type of a classification of texts or images; None for other tasks."""
    labels: tuple[str, ...] = ()
    """The labels, in the order of the model's outputs."""
    label_form: LabelForm = "name"
    max_length: int | None = None
    """The number of tokens that a text is cut to; None for images."""
    inputs: tuple[str, ...]
    """The names of the model's inputs."""
    pair: bool = False
    """Whether a row is two texts."""
    word_signs: str = ""
    """Signs that are parts of words where words have labels, such as & in AT&T."""
    unanswerable: bool = False
    """Whether a question may have no answer in its context."""
    pooling: Literal["mean", "cls"] | None = None
    """How an embedding is made of token states; None for other tasks."""
    normalize: bool = False
    """Whether an embedding is scaled to length one."""
