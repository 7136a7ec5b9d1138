"""Hold what a task is resolved from: the model's folder and config, and the rows of its data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedConfig

from edgeprune.data.table import Label, SplitName, Table
from edgeprune.tasks.labels import find_positions
from edgeprune.tasks.registry import TaskName
from edgeprune.tasks.resolve import has_head
from edgeprune.tasks.spec import LabelForm, ProblemType

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """Hold what a task is resolved from."""

    task: TaskName
    folder: Path
    """The model's folder."""
    config: PreTrainedConfig
    inputs: tuple[str, ...]
    splits: Mapping[SplitName, Table]
    max_length: int | None
    problem_type: ProblemType | None
    note: Callable[[str], None]
    """Tells the user something that was assumed."""

    @property
    def train(self) -> Table:
        """Give the rows to learn from."""
        return self.splits["train"]

    @property
    def train_labels(self) -> list[Label]:
        """Give the labels to learn from; only a task with labels has some."""
        assert self.train.labels is not None  # noqa: S101 (a labelled task's columns name a label, so its table has one)
        return self.train.labels

    @property
    def has_head(self) -> bool:
        """Tell whether the checkpoint's head is trained for the task."""
        return has_head(self.task, self.config.architectures)

    def head_labels(self) -> tuple[str, ...]:
        """Name the labels of the checkpoint's head, in the order of its outputs."""
        return tuple(str(self.config.id2label[position]) for position in range(self.config.num_labels))

    def head_label_form(self) -> LabelForm:
        """Say whether the rows name the head's labels, or give positions; these are told to the user."""
        positions = find_positions(self.train_labels, self.head_labels())
        if positions is None:
            return "name"
        self.note(positions)
        return "position"
