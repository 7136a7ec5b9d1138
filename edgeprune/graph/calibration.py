"""Rows of the selection split by which a precision is set and judged; test is for what is reported."""

from collections.abc import Sequence

import numpy as np
import onnxruntime

from edgeprune.graph.quantization import Feed
from edgeprune.graph.session import raw_output
from edgeprune.models.reader import Array, Reader
from edgeprune.tasks.prepared import Split

__all__ = ["CALIBRATION_ROWS", "feeds_of", "mean_distance", "outputs_of"]

CALIBRATION_ROWS = 128
"""Rows that fix the scales of int8-static, and as many others that tell how far a precision is from fp32."""


def feeds_of(split: Split, reader: Reader) -> tuple[list[Feed], list[Feed]]:
    """Two disjoint sets of rows spread over a split, one unpadded row a feed: to calibrate on, and to judge by.

    A split of one row is both.
    """
    count = min(2 * CALIBRATION_ROWS, len(split.examples))
    positions = np.linspace(0, len(split.examples) - 1, count).astype(int)
    feeds: list[Feed] = [reader.collate([split.examples[position].inputs]) for position in positions]
    return feeds[::2], feeds[1::2] or feeds


def outputs_of(session: onnxruntime.InferenceSession, feeds: Sequence[Feed]) -> list[Array]:
    """What a graph computes for each."""
    return [raw_output(session, feed) for feed in feeds]


def mean_distance(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """Mean absolute difference of outputs, every row with the same weight."""
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(ours, theirs, strict=True)]))
