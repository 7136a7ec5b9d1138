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
"""The part of a row that a model is given: one or two texts, or an image."""


Label = str | int | float | list[str] | list[int] | dict[str, Any]


SplitName = Literal["train", "selection", "test"]


@dataclass(frozen=True)
class Columns:
    """List the names by which the columns of a task's data are guessed."""

    content: tuple[str, ...]
    """Names of the text's or the image's column."""
    pair: tuple[str, ...] | None = None
    """Names of the second text's column. Empty: there is a second text only if the user names its column; None: there
    is none."""
    label: tuple[str, ...] = ()
    """Names of the label's column; empty: the task has no labels."""
    words: bool = False
    """Whether the text comes as a list of words, with one label for each word."""
    images: bool = False
    """Whether the content is an image."""


class DataSpec(Frozen):
    """Say where texts or images and their labels are."""

    train: str
    """A file, or a dataset's name (or folder) whose train, validation and test splits are used."""
    selection: str | None = None
    """A file with the rows that choices are made by; None splits a share off train."""
    test: str | None = None
    """A file with the rows that reported figures and the gate use; None splits 15% off train."""
    text_column: str | None = None
    """The column with the text or the image; None: it is guessed, as the other columns are."""
    pair_column: str | None = None
    """The column with the second text."""
    label_column: str | None = None
    max_rows: int | None = Field(default=None, ge=20)
    """Use a seeded subset of at most this many rows in all; None uses all."""


@dataclass(frozen=True)
class Table:
    """Hold one split: texts or images, and one label for each unless the task has none.

    A text that came as a list of words has a space between the words.
    """

    contents: Sequence[Content]
    labels: list[Label] | None
    rows: Sequence[int] = field(default=(), compare=False)
    """Numbers of the rows in the user's data, from 1, for messages; empty: the rows are numbered as they stand here."""

    @property
    def texts(self) -> Sequence[Text]:
        """The contents of a table of texts."""
        return cast("Sequence[Text]", self.contents)

    @property
    def numbers(self) -> Sequence[int]:
        """The rows' numbers as messages give them."""
        return self.rows or range(1, len(self.contents) + 1)


def flat(texts: Sequence[Text]) -> list[str]:
    """List the single texts. The two texts of a pair follow one another."""
    return [one for text in texts for one in ((text,) if isinstance(text, str) else text)]


def pick(table: Table, positions: Sequence[int]) -> Table:
    """Select the rows of a table at these positions, from 0."""
    labels = None if table.labels is None else [table.labels[position] for position in positions]
    return Table([table.contents[p] for p in positions], labels, [table.numbers[p] for p in positions])
