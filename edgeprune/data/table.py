"""Hold one table of data: texts or images with labels, and which columns and splits they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pydantic import Field

from edgeprune.base.strict_yaml import Frozen
from edgeprune.data.images import ImageFile

__all__ = ["Columns", "Content", "DataSpec", "Label", "SplitName", "Table", "Text", "flat", "pick"]


Text = str | tuple[str, str]
"""One text, or two that belong together."""


Content = Text | ImageFile
"""What a model is given of a row."""


Label = str | int | float | list[str] | list[int] | dict[str, Any]


SplitName = Literal["train", "selection", "test"]


@dataclass(frozen=True)
class Columns:
    """The columns of a task's data, by the names they are guessed from."""

    content: tuple[str, ...]
    """The text's or the image's."""
    pair: tuple[str, ...] | None = None
    """The second text's; empty: there is one only if it is named; None: never."""
    label: tuple[str, ...] = ()
    """Empty: the task has none."""
    words: bool = False
    """Whether the text comes as a list of words, and has a label a word."""
    images: bool = False
    """Whether the content is an image."""


class DataSpec(Frozen):
    """Where texts or images, and labels are."""

    train: str
    """A file, or a dataset's name (or folder) whose train, validation and test splits are used."""
    selection: str | None = None
    """A file for every choice; None splits a tenth off train."""
    test: str | None = None
    """A file for reported figures and the gate; None splits 15% off train."""
    text_column: str | None = None
    """The content of a row, be it a text or an image."""
    pair_column: str | None = None
    """The second text of a row."""
    label_column: str | None = None
    max_rows: int | None = Field(default=None, ge=20)
    """Use a seeded subset of at most this many rows in all; None uses all."""


@dataclass(frozen=True)
class Table:
    """One split: texts or images, and a label each unless the task has none.

    A text that came as words is the words with a space between them.
    """

    contents: Sequence[Content]
    labels: list[Label] | None
    rows: Sequence[int] = field(default=(), compare=False)
    """Numbers of the rows in the user's data, from 1, for messages; none: they are the table's own."""

    @property
    def texts(self) -> Sequence[Text]:
        """The contents of a table of texts."""
        return cast("Sequence[Text]", self.contents)

    @property
    def numbers(self) -> Sequence[int]:
        """What a message calls the rows."""
        return self.rows or range(1, len(self.contents) + 1)


def flat(texts: Sequence[Text]) -> list[str]:
    """The single texts, those of a pair one after the other."""
    return [one for text in texts for one in ((text,) if isinstance(text, str) else text)]


def pick(table: Table, positions: Sequence[int]) -> Table:
    """The rows of a table at these positions, from 0."""
    labels = None if table.labels is None else [table.labels[position] for position in positions]
    return Table([table.contents[p] for p in positions], labels, [table.numbers[p] for p in positions])
