"""Draw the rows that are timed: batches in a seeded order, and the largest batch that could come.

This module imports no torch.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["DIFFERENT_IMAGES", "draw"]

DIFFERENT_IMAGES = 8
"""Number of different batches of images. They are timed over and over, because each batch takes memory on the
device."""

Row = TypeVar("Row")


def draw(
    rows: Sequence[Row], length: Callable[[Row], int], *, batch_size: int, count: int, seed: int
) -> tuple[list[list[Row]], list[Row]]:
    """Draw `count` batches of rows, and one batch of the longest rows. Rows are repeated where there are too few."""
    drawn = np.random.default_rng(seed).integers(len(rows), size=count * batch_size).tolist()
    groups = [[rows[row] for row in drawn[start : start + batch_size]] for start in range(0, len(drawn), batch_size)]
    descending = sorted(rows, key=length, reverse=True)[:batch_size]
    return groups, [descending[number % len(descending)] for number in range(batch_size)]
