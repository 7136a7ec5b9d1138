"""Which rows are timed: drawn in a seeded order, in batches, and the largest batch that could come. Light: no torch."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["DIFFERENT_IMAGES", "draw"]

DIFFERENT_IMAGES = 8
"""So many batches of images differ, and are timed over and over: on the device each takes memory."""

Row = TypeVar("Row")


def draw(
    rows: Sequence[Row], length: Callable[[Row], int], *, batch_size: int, count: int, seed: int
) -> tuple[list[list[Row]], list[Row]]:
    """`count` batches of rows, and the one of the longest, some of them repeated where there are too few."""
    drawn = np.random.default_rng(seed).integers(len(rows), size=count * batch_size).tolist()
    groups = [[rows[row] for row in drawn[start : start + batch_size]] for start in range(0, len(drawn), batch_size)]
    descending = sorted(rows, key=length, reverse=True)[:batch_size]
    return groups, [descending[number % len(descending)] for number in range(batch_size)]
