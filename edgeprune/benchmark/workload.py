"""What is timed: batches of real rows, as the target's profile asks for them."""

from collections.abc import Sequence

from pydantic import JsonValue

from edgeprune.data.batches import draw
from edgeprune.models.reader import Inputs, Reader
from edgeprune.models.text_reader import TextReader
from edgeprune.profiles.target import Workload
from edgeprune.tasks.prepared import Split

__all__ = ["batches_of"]


def batches_of(
    split: Split, reader: Reader, workload: Workload, count: int, *, seed: int
) -> tuple[list[JsonValue], JsonValue]:
    """`count` batches of a split's rows in a seeded order, and the one of the longest; as the agent reads them.

    Args:
        split: Where a choice follows from the times, not test.
        reader: The model's.
        workload: Batch size and lengths.
        count: How many batches.
        seed: Of the order.
    """
    rows = _rows(split.inputs, reader, workload)
    groups, longest = draw(rows, reader.length, batch_size=workload.batch_size, count=count, seed=seed)
    return [reader.timed(group, number) for number, group in enumerate(groups)], reader.timed(longest, 0)


def _rows(rows: Sequence[Inputs], reader: Reader, workload: Workload) -> Sequence[Inputs]:
    """Rows at their own lengths, or cut and repeated to the fixed one."""
    length = workload.lengths
    if not isinstance(length, int):
        return rows
    assert isinstance(reader, TextReader)  # noqa: S101 (planning refuses a length for images)
    return [reader.of_length(row, length) for row in rows]
