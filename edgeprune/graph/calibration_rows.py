"""Choose the rows of the selection split that a precision is calibrated and judged on.

The test split is left alone: it is for the figures that are reported.
"""

from collections.abc import Sequence

import numpy as np
import onnxruntime

from edgeprune.graph.quantization import Feed
from edgeprune.graph.session import raw_output
from edgeprune.models.reader import Array, Reader
from edgeprune.tasks.prepared import Split

__all__ = ["CALIBRATION_ROWS", "feeds_of", "mean_distance", "outputs_of"]

CALIBRATION_ROWS = 128
"""The number of rows that fix the scales of int8-static. As many other rows tell how far a precision is from fp32."""


def feeds_of(split: Split, reader: Reader) -> tuple[list[Feed], list[Feed]]:
    """Choose two disjoint sets of rows, spread over a split: one set to calibrate on, and one to judge by.

    Each feed is one unpadded row. The only row of a split that has one row is in both sets.
    """
    count = min(2 * CALIBRATION_ROWS, len(split.examples))
    positions = np.linspace(0, len(split.examples) - 1, count).astype(int)
    feeds: list[Feed] = [reader.collate([split.examples[position].inputs]) for position in positions]
    return feeds[::2], feeds[1::2] or feeds


def outputs_of(session: onnxruntime.InferenceSession, feeds: Sequence[Feed]) -> list[Array]:
    """Compute a graph's output for each feed."""
    return [raw_output(session, feed) for feed in feeds]


def mean_distance(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """Compute the mean absolute difference of two graphs' outputs. Every row has the same weight."""
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(ours, theirs, strict=True)]))
