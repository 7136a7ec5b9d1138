"""Read the rows without labels as the stages use them: without the rows that choose or judge a model."""

from typing import TYPE_CHECKING

from edgeprune.base.errors import DataError
from edgeprune.data.source import DataSource

if TYPE_CHECKING:
    from edgeprune.data.table import Content
    from edgeprune.tasks.prepared import Prepared

__all__ = ["read_unlabelled"]


def read_unlabelled(unlabelled: DataSource, prepared: "Prepared") -> "tuple[list[Content], list[str]]":
    """Read the rows that are not among the prepared splits.

    A model may not learn from the rows that choose and judge it, and knows those that it is trained on.

    Returns:
        The rows' texts or images, and sentences on what was assumed and what was left out.

    Raises:
        DataError: No row is left.
    """
    found = unlabelled.load()["train"].contents
    known = {content for split in prepared.splits.values() for content in split.contents}
    contents = [content for content in found if content not in known]
    kind = prepared.task.kind
    if not contents:
        raise DataError(
            f"all {len(found):,} {kind}s of --unlabelled are among the rows of --data; give others, or leave it out"
        )
    notes = list(unlabelled.notes)
    if len(contents) < len(found):
        notes.append(
            f"{len(found) - len(contents):,} of {len(found):,} unlabelled {kind}s are among the rows with labels, and are left out"
        )
    return contents, notes
