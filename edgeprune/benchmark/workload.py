"""What is timed: batches of real rows, as the target's profile asks for them."""

from collections.abc import Sequence
from importlib import import_module

from pydantic import JsonValue

from edgeprune.data.batches import draw
from edgeprune.data.images import ImageFile
from edgeprune.models.reader import Inputs, Reader
from edgeprune.models.text_reader import TextReader
from edgeprune.pipeline.stages.base import Work
from edgeprune.profiles.pipeline import Workload
from edgeprune.store.store import Artifact
from edgeprune.tasks import PREPROCESS
from edgeprune.tasks.prepared import Split, open_prepared

__all__ = ["answered_rows", "batches_of"]


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


def answered_rows(work: Work, baseline: Artifact, count: int) -> list[JsonValue]:
    """`count` test rows in a seeded order, as a package's `run.py` is given them, in the form of its goldens.

    Args:
        baseline: The prepare artifact.
        count: How many rows.
    """
    prepared = open_prepared(baseline, work.data, splits=("test",))
    module = import_module(f"edgeprune.ondevice.{PREPROCESS[prepared.task.spec.task]}")
    groups, _ = draw(prepared.test.contents, lambda _: 0, batch_size=1, count=count, seed=work.seed)
    return [
        module.to_json(row.read() if isinstance(row, ImageFile) else prepared.task.golden(row, prepared.reader))
        for (row,) in groups
    ]


def _rows(rows: Sequence[Inputs], reader: Reader, workload: Workload) -> Sequence[Inputs]:
    """Rows at their own lengths, or cut and repeated to the fixed one."""
    length = workload.lengths
    if not isinstance(length, int):
        return rows
    assert isinstance(reader, TextReader)  # noqa: S101 (planning refuses a length for images)
    return [reader.of_length(row, length) for row in rows]
