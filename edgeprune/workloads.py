"""What is timed: batches of real test texts, as the target's profile asks for them."""

from pathlib import Path

import numpy as np
from pydantic import JsonValue

from edgeprune.artifacts import Artifact
from edgeprune.evaluation import collate
from edgeprune.prepared import open_prepared
from edgeprune.profiles import Workload
from edgeprune.stage import Work
from edgeprune.tasks.base import Array, Encoding

__all__ = ["batches_of"]


def batches_of(
    work: Work, baseline: Artifact, tokenizer: Path, workload: Workload, count: int
) -> tuple[list[JsonValue], JsonValue]:
    """`count` batches of test texts in a seeded order, and the one of the longest; as the agent reads them.

    Args:
        baseline: The prepare artifact.
        tokenizer: The folder of the model's tokenizer.
        workload: Batch size and lengths.
        count: How many batches.
    """
    prepared = open_prepared(baseline, work.data, splits=("test",), tokenizer=tokenizer)
    texts, pad, size = _texts(prepared.test.encodings, workload), prepared.pad_token_id, workload.batch_size
    rows = [int(row) for row in np.random.default_rng(work.seed).integers(len(texts), size=count * size)]
    groups = [[texts[row] for row in rows[start : start + size]] for start in range(0, len(rows), size)]
    longest = sorted(texts, key=lambda text: len(text["input_ids"]))[-size:]
    return [_as_lists(collate(group, pad)) for group in groups], _as_lists(collate(longest, pad))


def _texts(encodings: list[Encoding], workload: Workload) -> list[Encoding]:
    """Texts at their own lengths, or cut and repeated to the fixed one."""
    length = workload.lengths
    if not isinstance(length, int):
        return encodings
    return [
        {name: (values * (-(-length // len(values))))[:length] for name, values in encoding.items()}
        for encoding in encodings
    ]


def _as_lists(batch: dict[str, Array]) -> JsonValue:
    return {name: values.tolist() for name, values in batch.items()}
