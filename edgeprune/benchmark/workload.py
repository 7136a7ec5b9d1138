"""Make what is timed: batches of real rows, as the target's profile asks for them."""

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
    """Make batches of a split's rows in a seeded order, and one batch of the longest rows, as the agent reads them.

    Args:
        split: The split. If a choice follows from the times, it must not be the test split.
        reader: The model's reader.
        workload: The workload, which says the batch size and the lengths.
        count: How many batches are made.
        seed: The seed of the order.

    Returns:
        The batches, and the batch of the longest rows.
    """
    rows = _rows(split.inputs, reader, workload)
    groups, longest = draw(rows, reader.length, batch_size=workload.batch_size, count=count, seed=seed)
    return [reader.timed(group, number) for number, group in enumerate(groups)], reader.timed(longest, 0)


def _rows(rows: Sequence[Inputs], reader: Reader, workload: Workload) -> Sequence[Inputs]:
    """Give rows at their own lengths, or cut and repeated to the fixed length."""
    length = workload.lengths
    if not isinstance(length, int):
        return rows
    assert isinstance(reader, TextReader)  # noqa: S101 (planning refuses a length for images)
    return [reader.of_length(row, length) for row in rows]
